"""What a disk may hold after the power was cut: every write a process made, and which of them had been synced.

`record` runs a process under strace and reads back each change it made below a folder, with its bytes. `Disk` replays them
and knows, after any of them, what was durable and what was not: a file's bytes are safe once the file was synced, a name
(of a new, renamed or deleted file) once its folder was. `Disk.image` writes a folder as it may be found after a cut then:
of what was not safe some is there, some is not, and some is torn at a sector. This is the weakest file system of
Pillai et al. (OSDI 2014), or one that journals names in order.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

SECTOR = 512
_DELETED = " (deleted)"
_CALLS = (
    "openat,open,creat,write,pwrite64,writev,pwritev,pwritev2,lseek,ftruncate,truncate,fallocate,copy_file_range,"
    "sendfile,fsync,fdatasync,sync_file_range,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,rmdir,link,"
    "linkat,symlink,symlinkat"
)
_LINE = re.compile(r"^(\d+) +(\w+)\((.*)\) += (-?\d+)")
_UNFINISHED = re.compile(r"^(\d+) +(\w+\(.*) <unfinished \.\.\.>$")
_RESUMED = re.compile(r"^(\d+) +<\.\.\. \w+ resumed>(.*)$")
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_HANDLE = re.compile(r"^(\d+)<((?:[^>\\]|\\.)*)>")
_AT = re.compile(r"^(?:AT_FDCWD|\d+)(?:<((?:[^>\\]|\\.)*)>)?, ")


@dataclass(frozen=True)
class Op:
    """One change, or one sync."""

    kind: str
    """open, write, truncate, sync, rename, unlink, mkdir, rmdir."""
    path: str
    """Below the root."""
    other: str = ""
    """Where a rename goes."""
    offset: int = 0
    """Of a write; of a truncation, the length."""
    data: bytes = b""


def record(command: list[str], root: Path) -> list[Op]:
    """Run a command to its end; every change that it made below `root`, in order.

    Raises:
        ValueError: it made a change of a kind that is not understood.
    """
    log = root.parent / f"{root.name}.strace"
    traced = ["strace", "-f", "-y", "-xx", "-s", str(1 << 28), "-e", f"trace={_CALLS}", "-o", str(log), *command]
    done = subprocess.run(traced, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(f"{command} ended with {done.returncode}: {done.stderr[-2000:]}")
    with log.open(encoding="ascii", errors="replace") as lines:
        return [op for line in _whole(lines) for op in _Reader(str(root)).read(line)]


def _whole(lines):
    """Lines of calls that another thread interrupted, put together again where they ended."""
    begun: dict[str, str] = {}
    for raw in lines:
        line = raw.rstrip("\n")
        if found := _UNFINISHED.match(line):
            begun[found[1]] = found[2]
        elif found := _RESUMED.match(line):
            yield f"{found[1]} {begun.pop(found[1])}{found[2]}"
        else:
            yield line


def _text(escaped: str) -> str:
    return bytes.fromhex(escaped.replace("\\x", "")).decode()


def _path(shown: str) -> str:
    return re.sub(r"\\x([0-9a-f]{2})", lambda found: chr(int(found[1], 16)), shown)


class _Reader:
    def __init__(self, root: str) -> None:
        self.root = root

    def below(self, path: str) -> str | None:
        """The path below the root, "" for the root itself; None for what lies elsewhere."""
        path = os.path.normpath(path)
        if path == self.root:
            return ""
        return path[len(self.root) + 1 :] if path.startswith(f"{self.root}/") else None

    def read(self, line: str):
        found = _LINE.match(line)
        if found is None or int(found[4]) < 0:
            return
        call, rest, result = found[2], found[3], int(found[4])
        handle = _HANDLE.match(rest)
        if handle and call in ("write", "pwrite64", "lseek", "ftruncate", "fsync", "fdatasync"):
            path = self.below(_path(handle[2]))
            if path is None:
                return
            path += _DELETED if rest[handle.end() :].startswith("(deleted)") else ""
            last = rest.rpartition(", ")[2]
            if call == "write":
                yield Op("write", path, offset=-1, data=self._bytes(rest)[:result])
            elif call == "pwrite64":
                yield Op("write", path, offset=int(last), data=self._bytes(rest)[:result])
            elif call == "lseek":
                yield Op("seek", path, offset=result)
            elif call == "ftruncate":
                yield Op("truncate", path, offset=int(last))
            else:
                yield Op("sync", path)
            return
        paths = self._paths(rest)
        inside = [self.below(path) for path in paths]
        if all(path is None for path in inside):
            if handle and self.below(_path(handle[2])) is not None:
                raise ValueError(f"{call} is not understood: {line[:200]}")
            return
        if call in ("openat", "open"):
            if "O_CREAT" in rest:
                yield Op("open", inside[0])
                if "O_TRUNC" in rest:
                    yield Op("truncate", inside[0])
            if "O_WRONLY" in rest or "O_RDWR" in rest:
                yield Op("seek", inside[0])
        elif call.startswith("rename"):
            yield Op("rename", inside[0], inside[1])
        elif call in ("unlink", "unlinkat", "rmdir"):
            yield Op("rmdir" if call == "rmdir" or "AT_REMOVEDIR" in rest else "unlink", inside[0])
        elif call.startswith("mkdir"):
            yield Op("mkdir", inside[0])
        else:
            raise ValueError(f"{call} is not understood: {line[:200]}")

    def _bytes(self, rest: str) -> bytes:
        return bytes.fromhex(_STRING.search(rest)[1].replace("\\x", ""))

    def _paths(self, rest: str) -> list[str]:
        """Every path that is named, absolute."""
        found = []
        while rest:
            folder = ""
            if at := _AT.match(rest):
                folder, rest = _path(at[1] or ""), rest[at.end() :]
            if not (named := _STRING.match(rest)):
                break
            found.append(os.path.join(folder, _text(named[1])))
            rest = rest[named.end() :].removeprefix(", ")
        return found


@dataclass
class _File:
    safe: bytes = b""
    """As it was when it was last synced."""
    now: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)
    """Writes (offset, bytes) and truncations (length, None) since."""
    at: int = 0
    """Where the next write goes."""

    def sync(self) -> None:
        self.safe = bytes(self.now)
        self.pending.clear()

    def survived(self, chance: random.Random, mode: str) -> bytes:
        """What is on the disk after a cut."""
        share = {"none": 0.0, "all": 1.0}.get(mode, chance.choice((0.0, 0.5, 0.9, 1.0)))
        content = bytearray(self.safe)
        for offset, data in self.pending:
            if data is None or share == 1.0:
                if chance.random() < share or share == 1.0:
                    _lay(content, offset, data)
                continue
            for start, piece in _sectors(offset, data):
                if chance.random() < share:
                    _lay(content, start, piece)
        return bytes(content)


@dataclass
class _Folder:
    safe: dict[str, int] = field(default_factory=dict)
    now: dict[str, int] = field(default_factory=dict)
    pending: list[dict[str, int | None]] = field(default_factory=list)
    """Names that came, went and changed since the folder was synced; each mapping happens as one."""

    def sync(self) -> None:
        self.safe = dict(self.now)
        self.pending.clear()

    def survived(self, chance: random.Random, mode: str) -> dict[str, int]:
        """The names on the disk after a cut."""
        kept = self.pending
        if mode == "none":
            kept = []
        elif mode == "ordered":
            kept = kept[: chance.randint(0, len(kept))]
        elif mode == "any":
            share = chance.choice((0.2, 0.5, 0.9))
            kept = [change for change in kept if chance.random() < share]
        names = dict(self.safe)
        for change in kept:
            _put(names, change)
        return names


class Disk:
    """Files and folders by number, names pointing to them; number 0 is the root, which is safe."""

    def __init__(self) -> None:
        self.items: dict[int, _File | _Folder] = {0: _Folder()}
        self._gone: dict[str, int] = {}
        """Deleted files that may still be open."""

    def apply(self, op: Op) -> None:
        """Make one change."""
        getattr(self, f"_{op.kind}")(op)

    def image(self, folder: Path, chance: random.Random, mode: str) -> None:
        """Write to an empty folder what may be found after a cut now.

        Args:
            folder: where to.
            chance: chooses.
            mode: what is there of that which is not safe: "none", "all", "ordered" (names in their order up to some
                moment, bytes at random), or "any" (names at random too).
        """
        self._lay_out(0, folder, chance, mode)

    def _lay_out(self, number: int, path: Path, chance: random.Random, mode: str) -> None:
        item = self.items[number]
        if isinstance(item, _File):
            path.write_bytes(item.survived(chance, mode))
            return
        path.mkdir(exist_ok=True)
        for name, child in item.survived(chance, mode).items():
            self._lay_out(child, path / name, chance, mode)

    def _number(self, path: str) -> int | None:
        if path.endswith(_DELETED):
            return self._gone.get(path.removesuffix(_DELETED))
        number = 0
        for name in path.split("/") if path else []:
            folder = self.items[number]
            if not isinstance(folder, _Folder) or name not in folder.now:
                return None
            number = folder.now[name]
        return number

    def _item(self, path: str) -> _File | _Folder:
        number = self._number(path)
        if number is None:
            raise ValueError(f"{path} was never made")
        return self.items[number]

    def _change(self, path: str, changes: dict[str, int | None]) -> None:
        folder = self._item(os.path.dirname(path))
        folder.pending.append(changes)
        _put(folder.now, changes)

    def _new(self, path: str, item: _File | _Folder) -> None:
        number = len(self.items)
        self.items[number] = item
        self._change(path, {os.path.basename(path): number})

    def _open(self, op: Op) -> None:
        if self._number(op.path) is None:
            self._new(op.path, _File())

    def _mkdir(self, op: Op) -> None:
        self._new(op.path, _Folder())

    def _seek(self, op: Op) -> None:
        item = self._item(op.path)
        if isinstance(item, _File):
            item.at = op.offset

    def _write(self, op: Op) -> None:
        item = self._item(op.path)
        offset = item.at if op.offset < 0 else op.offset
        _lay(item.now, offset, op.data)
        item.pending.append((offset, op.data))
        if op.offset < 0:
            item.at = offset + len(op.data)

    def _truncate(self, op: Op) -> None:
        item = self._item(op.path)
        _lay(item.now, op.offset, None)
        item.pending.append((op.offset, None))

    def _sync(self, op: Op) -> None:
        self._item(op.path).sync()

    def _rename(self, op: Op) -> None:
        if os.path.dirname(op.path) != os.path.dirname(op.other):
            raise ValueError("a rename from folder to folder is not modelled")
        moved = self._number(op.path)
        self._change(op.path, {os.path.basename(op.path): None, os.path.basename(op.other): moved})

    def _unlink(self, op: Op) -> None:
        self._gone[op.path] = self._number(op.path)
        self._change(op.path, {os.path.basename(op.path): None})

    _rmdir = _unlink


def _lay(content: bytearray, offset: int, data: bytes | None) -> None:
    """A write, or without bytes a truncation, with zeros where nothing was written."""
    content.extend(b"\0" * (offset - len(content)))
    if data is None:
        del content[offset:]
    else:
        content[offset : offset + len(data)] = data


def _sectors(offset: int, data: bytes):
    """A write in pieces that a disk writes whole."""
    at = 0
    while at < len(data):
        end = min(len(data), at + SECTOR - (offset + at) % SECTOR)
        yield offset + at, data[at:end]
        at = end


def _put(names: dict[str, int], changes: dict[str, int | None]) -> None:
    for name, number in changes.items():
        if number is None:
            names.pop(name, None)
        else:
            names[name] = number
