"""Whether tantivy's files are what it wrote: their own checksums, which it does not look at when it opens them."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path

_PARTS = ("fast", "fieldnorm", "idx", "pos", "store", "term")  # files of every segment
_MAGIC = 1337  # the last four bytes of a file of tantivy's


def damaged_files(folder: Path) -> list[str]:
    """Names of tantivy's files whose bytes are not those that their footers' checksums were made of.

    Only those that the last commit names: a crash leaves others, half written, and nobody reads them.
    """
    deletes = _deletes(folder)
    if deletes is None:
        return ["meta.json"]
    bad = []
    for path in sorted(folder.iterdir()):
        segment, *rest = path.name.split(".")
        if segment not in deletes or (rest[-1:] == ["del"] and rest[0] != str(deletes[segment])):
            continue
        data = path.read_bytes()
        try:
            size, magic = struct.unpack("<II", data[-8:])
            footer = json.loads(data[-8 - size : -8])
            whole = magic == _MAGIC and footer["crc"] == zlib.crc32(data[: -8 - size])
        except (struct.error, ValueError, KeyError, TypeError):
            whole = False
        if not whole:
            bad.append(path.name)
    return bad


def missing_files(folder: Path) -> list[str]:
    """Names of files that the last commit needs and that are not there; for an index that nobody writes to."""
    deletes = _deletes(folder) or {}
    named = [f"{segment}.{part}" for segment in deletes for part in _PARTS]
    named += [f"{segment}.{opstamp}.del" for segment, opstamp in deletes.items() if opstamp is not None]
    return sorted(name for name in named if not (folder / name).is_file())


def _deletes(folder: Path) -> dict[str, int | None] | None:
    """The segments that the last commit names, and which file of deletions each has; None: that cannot be read."""
    try:
        segments = json.loads((folder / "meta.json").read_text(encoding="utf-8"))["segments"]
        return {one["segment_id"].replace("-", ""): (one["deletes"] or {}).get("opstamp") for one in segments}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
