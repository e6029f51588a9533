"""Tools ``read_file`` and ``write_file``: files in one folder, without absolute paths, ``..`` or symbolic links."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from pydantic import Field

from llmkit import assets
from llmkit.agents.tool import Arguments, Output, Tool
from llmkit.errors import DataError
from llmkit.part import Part
from llmkit.protocols import Context

_NAME = r"^[A-Za-z][A-Za-z0-9_-]{0,63}$"


class ReadFile(Part):
    """Reads text files below a folder, or lists one of its folders."""

    family: ClassVar[str] = "tool"
    type: ClassVar[str] = "read_file"

    root: str
    """The folder, or the name of one below eval/. Nothing outside of it is read, and no link is followed."""
    name: str = Field(default="read_file", pattern=_NAME)
    """Name of the tool for the model."""
    most: int = Field(default=1_000_000, ge=1)
    """Maximum bytes to read from one file."""

    def tools(self) -> tuple[Tool, ...]:
        """The tool."""

        def call(given: Mapping[str, Any], ctx: Context) -> Output:
            with _open_below(_find_root(self.root), given["path"], os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)) as file:
                mode = os.fstat(file).st_mode
                if stat.S_ISDIR(mode):
                    return Output("\n".join(sorted(os.listdir(file))[:200]))  # noqa: PTH208  (of a descriptor)
                if not stat.S_ISREG(mode):
                    raise DataError(f"{given['path']} is no file")
                raw = _read(file, self.most + 1)
            if b"\0" in raw[:8192]:
                return Output(raw)
            left = " (the file continues)" if len(raw) > self.most else ""
            return Output(raw[: self.most].decode("utf-8", "replace") + left)

        schema = Arguments().text("path", "as in notes/plan.txt; . for the list of files").schema
        return (Tool(self.name, "Reads a text file, or lists a folder.", schema, call),)


class WriteFile(Part):
    """Writes new text files below a folder; has side effects."""

    family: ClassVar[str] = "tool"
    type: ClassVar[str] = "write_file"

    root: str
    """The folder. Nothing outside of it is written, and no link is followed."""
    name: str = Field(default="write_file", pattern=_NAME)
    """Name of the tool for the model."""
    most: int = Field(default=100_000, ge=1)
    """Maximum bytes of one file."""
    overwrite: bool = False
    """Whether existing files are replaced."""

    def tools(self) -> tuple[Tool, ...]:
        """The tool."""

        def call(given: Mapping[str, Any], ctx: Context) -> Output:
            raw = given["text"].encode("utf-8", "replace")
            if len(raw) > self.most:
                raise DataError(f"the text has {len(raw)} bytes, {self.most} are allowed; nothing was written")
            Path(self.root).expanduser().mkdir(parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if self.overwrite else os.O_EXCL)
            with _open_below(Path(self.root), given["path"], flags) as file, os.fdopen(os.dup(file), "wb") as target:
                target.write(raw)
            return Output(f"{given['path']}: {len(raw)} bytes were written")

        schema = Arguments().text("path", "as in notes/plan.txt").text("text", "the text of the file").schema
        about = "Writes a text file."
        return (Tool(self.name, about, schema, call, side_effects=True, untrusted=False),)


def _find_root(root: str) -> Path:
    """The folder, or the one of that name below eval/ if it does not exist."""
    given = Path(root).expanduser()
    shipped = [folder / root for folder in assets.folders("eval") if (folder / root).is_dir()]
    return given if given.is_dir() or not shipped else shipped[0]


@contextmanager
def _open_below(root: Path, given: str, flags: int) -> Iterator[int]:
    """Open a path below the root, folder by folder without following links, and yield its file descriptor.

    Raises:
        DataError: the path leads out of the root, is or passes a link, is missing, or may not be opened.
    """
    parts = PurePosixPath(given.replace("\\", "/")).parts
    if not given.strip() or "\0" in given or PurePosixPath(given).is_absolute() or ".." in parts or ":" in given:
        raise DataError(f"{given[:200]!r} is not a path below the folder: write one as in notes/plan.txt")
    base = root.expanduser()
    if not base.is_dir():
        raise DataError(f"the folder {root} of this tool does not exist: set `root` to an existing folder")
    opened = []
    try:
        if os.open not in os.supports_dir_fd:  # Windows
            path = base.resolve() / Path(*parts)
            if not path.resolve().is_relative_to(base.resolve()):
                raise DataError(f"{given} leads out of the folder")
            opened.append(os.open(path, flags))
        else:
            opened.append(os.open(base, os.O_RDONLY | os.O_DIRECTORY))
            for part in parts[:-1]:
                opened.append(os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=opened[-1]))
            last = parts[-1] if parts else "."
            opened.append(os.open(last, flags | os.O_NOFOLLOW, 0o644, dir_fd=opened[-1]))
        yield opened[-1]
    except FileExistsError as error:
        raise DataError(f"{given} exists already: choose another name") from error
    except OSError as error:
        what = "a link, which is not followed" if error.errno in (40, 62) else error.strerror
        raise DataError(f"{given}: {what}") from error
    finally:
        for one in opened:
            os.close(one)


def _read(file: int, limit: int) -> bytes:
    """At most `limit` bytes of a file."""
    pieces = []
    while limit > 0 and (piece := os.read(file, min(limit, 1 << 20))):
        pieces.append(piece)
        limit -= len(piece)
    return b"".join(pieces)
