"""The head of a GGUF file, read before native code sees the file."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

from llmkit.errors import ModelError

_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_STRING, _ARRAY, _UINT32, _UINT64 = 8, 9, 4, 10
_MANY = 10_000_000


def trained_context(path: Path) -> int | None:
    """Tokens of context the model was trained with; None where the file does not say.

    Raises:
        ModelError: not a GGUF file, or one that ends inside its head.
    """
    try:
        with path.open("rb") as file:
            if file.read(4) != b"GGUF":
                raise ModelError(f"{path} is not a GGUF file")
            version, _, entries = struct.unpack("<IQQ", _read(file, 20))
            if version not in (2, 3) or entries > _MANY:
                raise ModelError(f"{path} is GGUF version {version}; versions 2 and 3 are read")
            for _ in range(entries):
                key = _string(file)
                (kind,) = struct.unpack("<I", _read(file, 4))
                if key.endswith(b".context_length") and kind in (_UINT32, _UINT64):
                    return int.from_bytes(_read(file, _SIZES[kind]), "little")
                _skip(file, kind)
    except (OSError, struct.error, EOFError) as error:
        raise ModelError(f"{path} cannot be read as GGUF: {error or 'it ends too early'}") from error
    return None


def _read(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise EOFError("it ends inside its head")
    return data


def _string(file: BinaryIO) -> bytes:
    (size,) = struct.unpack("<Q", _read(file, 8))
    if size > _MANY:
        raise EOFError("a text in its head is longer than any should be")
    return _read(file, size)


def _skip(file: BinaryIO, kind: int) -> None:
    if kind == _STRING:
        _string(file)
    elif kind == _ARRAY:
        inner, count = struct.unpack("<IQ", _read(file, 12))
        if inner in _SIZES:
            file.seek(_SIZES[inner] * count, 1)
        elif count > _MANY:
            raise EOFError("a list in its head is longer than any should be")
        else:
            for _ in range(count):
                _skip(file, inner)
    elif kind in _SIZES:
        file.seek(_SIZES[kind], 1)
    else:
        raise EOFError(f"its head has a value of unknown kind {kind}")
