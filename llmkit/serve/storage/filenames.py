"""Names of files that came from elsewhere."""

from __future__ import annotations

import re
import unicodedata

from llmkit.serve.auth.principal import Refused

_LONGEST = 150  # bytes; most file systems take 255
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")


def safe(name: str | None) -> str:
    """The last part of a name, fit for any file system: no folders, no control characters, not hidden, not too long.

    Raises:
        Refused: 422, nothing is left of it.
    """
    last = re.split(r"[\\/]", unicodedata.normalize("NFC", name or ""))[-1]
    clean = "".join("_" if c in '<>:"|?*' or unicodedata.category(c)[0] == "C" else c for c in last)
    clean = clean.strip(" .")
    if not clean or not clean.strip("_"):
        raise Refused(422, f"a file needs a name; {name!r} is none")
    if _RESERVED.fullmatch(clean):
        clean = f"_{clean}"
    stem, dot, kind = clean.rpartition(".")
    if not stem:
        stem, dot, kind = clean, "", ""
    kind = kind.encode()[:20].decode(errors="ignore")
    room = _LONGEST - len(kind.encode()) - 1
    return f"{stem.encode()[:room].decode(errors='ignore')}{dot}{kind}"
