"""Files under folders, in a stable order, one at a time."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from llmkit.errors import DataError

_PRUNED = frozenset(("node_modules", "__pycache__", "__pypackages__", "site-packages"))
_QUIET = frozenset((".DS_Store", "Thumbs.db", "desktop.ini", ".gitignore", ".gitattributes", ".gitkeep", ".gitmodules"))
_BLOCK = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Source:
    """A file to load."""

    path: Path
    """Absolute, without symbolic links."""
    root: Path
    """The folder it was found under, or the file itself."""
    id: str
    """Readable name of the document: ``folder/sub/file.md``."""
    size: int
    """Bytes."""
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file or folder that was not read, and why."""

    path: Path
    reason: str
    lost: bool = False
    """It is there and the system would not let us look: what was found below it before may still be there."""


def scan(roots: Sequence[Path]) -> Iterator[Source | Skipped]:
    """Every file under the roots, sorted by name within each folder.

    Version control, hidden folders, ``node_modules`` and virtual environments are passed over, each told once. A
    symbolic link is followed where its target lies inside the root and is not read under its own name anyway.

    Args:
        roots: Files and folders; a root inside another is read once.

    Raises:
        DataError: A root does not exist.
    """
    given = [Path(root) for root in roots]
    for root in given:
        if not root.exists():
            pattern = "; patterns are not expanded: give the folder" if set(str(root)) & set("*?[") else ""
            raise DataError(f"{root}: no such file or folder{pattern}")
    real = [root.resolve() for root in given]
    labels = _labels(real)
    for i, root in enumerate(real):
        owner = next((o for j, o in enumerate(real) if j != i and _reads(o, root) and (o != root or j < i)), None)
        if owner is not None:
            yield Skipped(root, f"inside {owner}, read once")
        elif root.is_dir():
            yield from _Walk(root, labels[i]).folder(root, labels[i])
        else:
            yield _source(root, root, labels[i])


def digest(path: Path) -> str:
    """SHA-256 of the content, in hexadecimal."""
    sha = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(_BLOCK):
            sha.update(block)
    return sha.hexdigest()


class _Walk:
    """One root being walked."""

    def __init__(self, root: Path, label: str) -> None:
        self.root, self.label = root, label
        self.linked: set[Path] = set()

    def folder(self, folder: Path, label: str) -> Iterator[Source | Skipped]:
        stack = [(folder, label)]
        while stack:
            folder, label = stack.pop()
            if folder.is_file():
                yield _source(folder, self.root, label)
                continue
            try:
                with os.scandir(folder) as entries:
                    names = sorted(entry.name for entry in entries)
            except OSError as error:
                yield Skipped(folder, _why(error), lost=True)
                continue
            inside: list[tuple[Path, str]] = []
            for name in names:
                path = folder / name
                outcome = self._entry(path)
                if isinstance(outcome, Skipped):
                    yield outcome
                elif outcome is not None:
                    inside.append((outcome, f"{label}/{_printable(name)}"))
            stack.extend(reversed(inside))

    def _entry(self, path: Path) -> Path | Skipped | None:
        """The file or folder to read, or why not; None for what nobody misses."""
        try:
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode):
                return self._link(path)
        except OSError as error:
            return Skipped(path, _why(error), lost=True)
        if stat.S_ISDIR(mode):
            reason = _pruned(path)
            return Skipped(path, reason) if reason else path
        if not stat.S_ISREG(mode):
            return Skipped(path, "not a regular file (pipe, socket or device)")
        if path.name in _QUIET:
            return None
        if path.name.startswith("."):
            return Skipped(path, "hidden file; name it to read it")
        if not os.access(path, os.R_OK):
            return Skipped(path, "no permission to read it")
        return path

    def _link(self, path: Path) -> Path | Skipped:
        try:
            target = path.resolve(strict=True)
        except (OSError, RuntimeError):
            return Skipped(path, "symbolic link to nothing, or to itself")
        if target == self.root or not target.is_relative_to(self.root):
            inside = path.is_relative_to(target)
            return Skipped(
                path, "symbolic link in a circle" if inside else "symbolic link out of the tree, not followed"
            )
        if path.is_relative_to(target):
            return Skipped(path, "symbolic link in a circle")
        if _reads(self.root, target):
            return Skipped(path, f"symbolic link to {target.relative_to(self.root)}, read there")
        if target in self.linked or not (target.is_dir() or target.is_file()):
            return Skipped(
                path, "symbolic link to what was read already" if target in self.linked else "not a regular file"
            )
        self.linked.add(target)
        return target


def _reads(root: Path, path: Path) -> bool:
    """Whether walking `root` comes to `path` under its own name."""
    if root == path:
        return True
    if not root.is_dir() or not path.is_relative_to(root):
        return False
    below = path.relative_to(root).parts
    folders = [root.joinpath(*below[: i + 1]) for i in range(len(below) - (0 if path.is_dir() else 1))]
    return not path.name.startswith(".") and not any(_pruned(folder) for folder in folders)


def _pruned(folder: Path) -> str:
    name = folder.name
    if name in _PRUNED:
        return "folder of installed or generated files, passed over"
    if name.startswith("."):
        return "hidden folder, passed over; name it to read it"
    if (folder / "pyvenv.cfg").is_file():
        return "virtual environment, passed over"
    return ""


def _source(path: Path, root: Path, id: str) -> Source | Skipped:
    try:
        status = path.stat()
    except OSError as error:
        return Skipped(path, _why(error))
    if not stat.S_ISREG(status.st_mode):
        return Skipped(path, "not a regular file (pipe, socket or device)")
    return Source(path, root, id, status.st_size, status.st_mtime_ns)


def _labels(roots: list[Path]) -> list[str]:
    """The name of each root, with as many parent names as tell them apart."""
    labels = []
    for root in roots:
        parts = [_printable(part.strip(os.sep)) for part in root.parts if part.strip(os.sep)] or ["root"]
        others = [other.parts for other in roots if other != root]
        depth = 1
        while depth < len(parts) and any(other[-depth:] == root.parts[-depth:] for other in others):
            depth += 1
        labels.append("/".join(parts[-depth:]))
    return labels


def _printable(name: str) -> str:
    """The name as text that can be written as UTF-8, whatever bytes it has on disk."""
    return os.fsencode(name).decode("utf-8", "backslashreplace") if not name.isascii() else name


def _why(error: OSError) -> str:
    return "no permission to read it" if isinstance(error, PermissionError) else (error.strerror or str(error)).lower()
