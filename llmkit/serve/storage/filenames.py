"""Safe names for uploaded files."""

from __future__ import annotations

import re
import unicodedata

from llmkit.serve.errors import HttpError

_MAX_NAME_BYTES = 150  # most file systems allow 255
_MAX_SUFFIX_BYTES = 20
_MAX_FOLDERS = 12
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")  # on Windows


def split_name(name: str | None) -> list[str]:
    """Return the parts of the name that a client gave a file, in NFC.

    A relative name keeps its folders: browsers send them when somebody uploads a folder. Of an absolute name, and of
    one with ``..`` in it, only the last part is kept.
    """
    parts = re.split(r"[\\/]", unicodedata.normalize("NFC", name or ""))
    return parts[-1:] if not parts[0] or parts[0].endswith(":") or ".." in parts else parts


def safe_relative_path(name: str | None) -> tuple[str, ...]:
    """Return the parts of a path that is safe on every file system, from the name that a client gave a file.

    The parts are those of :func:`split_name`. Each loses control characters and characters that a file system refuses,
    is not hidden, and has at most 150 bytes of UTF-8.

    Raises:
        HttpError: 422, the name has no usable last part.
    """
    parts = split_name(name)
    folders = [clean for part in parts[:-1] if (clean := _clean(part))]
    file = _clean(parts[-1])
    if not file:
        raise HttpError(422, f"a file needs a name, and {name!r} is not one")
    return (*folders[-_MAX_FOLDERS:], file)


def number_name(name: str, number: int) -> str:
    """Return a file name with a number before its suffix, as in ``readme (2).md``."""
    stem, suffix = _split(name)
    return f"{stem} ({number}){suffix}"


def _clean(part: str) -> str:
    clean = "".join("_" if c in '<>:"|?*' or unicodedata.category(c)[0] == "C" else c for c in part).strip(" .")
    if not clean.strip("_"):
        return ""
    if _RESERVED.fullmatch(clean):
        clean = f"_{clean}"
    stem, suffix = _split(clean)
    suffix = _truncate(suffix, _MAX_SUFFIX_BYTES + 1)
    return f"{_truncate(stem, _MAX_NAME_BYTES - max(1, len(suffix.encode())))}{suffix}"


def _split(name: str) -> tuple[str, str]:
    stem, dot, suffix = name.rpartition(".")
    return (stem, dot + suffix) if stem else (name, "")


def _truncate(text: str, max_bytes: int) -> str:
    return text.encode()[:max_bytes].decode(errors="ignore")
