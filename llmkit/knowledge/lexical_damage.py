"""Whether tantivy's files are what it wrote: their own checksums, which it does not look at when it opens them."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path

_MAGIC = 1337  # the last four bytes of a file of tantivy's


def damaged_files(folder: Path) -> list[str]:
    """Names of tantivy's files whose bytes are not those that their footers' checksums were made of.

    Only those that the last commit names: a crash leaves others, half written, and nobody reads them.
    """
    try:
        segments = json.loads((folder / "meta.json").read_text(encoding="utf-8"))["segments"]
        deletes = {one["segment_id"].replace("-", ""): (one["deletes"] or {}).get("opstamp") for one in segments}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
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
