"""The bytes of one file, and the views of them that kinds and formats share."""

from __future__ import annotations

import io
import zipfile
import zlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePosixPath

from llmkit.errors import DataError
from llmkit.text.formats.limits import MIB, Limits, Unreadable, size
from llmkit.text.loading.decoding import Decoded, decode


@dataclass
class Content:
    """One file's bytes with the name it goes by."""

    data: bytes
    name: str
    """File name; its extension is a hint, no more."""
    id: str = ""
    """Id of the source; rows are named after it."""
    limits: Limits = field(default_factory=Limits)
    depth: int = 0
    """0 for a file, 1 for what lies inside one (an attachment)."""
    language: str = ""
    """Programming language, for source code."""

    @property
    def extension(self) -> str:
        """Lower case, without the dot."""
        return PurePosixPath(self.name.replace("\\", "/")).suffix.lower().lstrip(".")

    @cached_property
    def decoded(self) -> Decoded:
        """The bytes as text.

        Raises:
            Unreadable: They are none.
        """
        try:
            return decode(self.data)
        except DataError as error:
            raise Unreadable("unsupported", str(error)) from error

    def archive(self) -> zipfile.ZipFile:
        """The bytes as a zip archive whose members are safe to expand.

        Raises:
            Unreadable: It is damaged, encrypted, or expands too far.
        """
        try:
            archive = zipfile.ZipFile(io.BytesIO(self.data))
        except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError) as error:
            raise Unreadable("failed", f"damaged zip archive: {error}") from error
        _check(archive.infolist(), self.limits)
        return archive


def member(archive: zipfile.ZipFile, name: str) -> bytes:
    """One member's bytes.

    Raises:
        Unreadable: It is missing or damaged.
    """
    try:
        return archive.read(name)
    except KeyError as error:
        raise Unreadable("failed", f"the archive lacks {name}") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        raise Unreadable("failed", f"damaged archive member {name}: {error}") from error


def gunzip(data: bytes, limits: Limits) -> bytes:
    """The expanded bytes of a gzip file, all its members.

    Raises:
        Unreadable: It is damaged or expands too far.
    """
    most = min(limits.max_expanded, max(int(len(data) * limits.max_ratio), 8 * MIB))
    out: list[bytes] = []
    total = 0
    while data:
        stream = zlib.decompressobj(31)
        try:
            out.append(stream.decompress(data, most - total + 1))
        except zlib.error as error:
            raise Unreadable("failed", f"damaged gzip file: {error}") from error
        total += len(out[-1])
        if total > most:
            raise Unreadable("too_large", f"expands to more than {size(most)}")
        if not stream.eof:
            raise Unreadable("failed", "damaged gzip file: it ends early")
        data = stream.unused_data.lstrip(b"\0")
    return b"".join(out)


def _check(infos: list[zipfile.ZipInfo], limits: Limits) -> None:
    if len(infos) > limits.max_entries:
        raise Unreadable("too_large", f"archive of {len(infos):,} members, more than {limits.max_entries:,}")
    total = sum(info.file_size for info in infos)
    if total > limits.max_expanded:
        raise Unreadable("too_large", f"archive expands to {size(total)}, more than {size(limits.max_expanded)}")
    for info in infos:
        path = PurePosixPath(info.filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts:
            raise Unreadable("failed", f"archive member with a path outside the archive: {info.filename!r}")
        if info.flag_bits & 0x1:
            raise Unreadable("encrypted", "the archive is encrypted")
        if info.file_size > 8 * MIB and info.file_size > limits.max_ratio * max(info.compress_size, 1):
            ratio = info.file_size // max(info.compress_size, 1)
            raise Unreadable("too_large", f"archive member {info.filename!r} expands {ratio:,} times (a zip bomb?)")
