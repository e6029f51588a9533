"""The head of a GGUF file, read before native code sees the file."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

from llmkit.errors import ModelError

_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_STRING, _ARRAY, _UINT32, _UINT64 = 8, 9, 4, 10
_MANY = 10_000_000
_CONTEXT = 8192


def window(path: Path, asked: int | None) -> int:
    """Tokens of context a model gets: those asked for, else what it was trained with, at most 8192.

    Raises:
        ModelError: more are asked for than it was trained with, or it is no GGUF file.
    """
    trained = trained_context(path) or _CONTEXT
    if asked is not None and asked > trained:
        raise ModelError(f"{path.name} was trained with a context of {trained} tokens; {asked} were asked for")
    return asked or min(trained, _CONTEXT)


def trained_context(path: Path) -> int | None:
    """Tokens of context the model was trained with; None where the file does not say.

    Raises:
        ModelError: not a GGUF file, or one that ends inside its head.
    """
    return _numbers(path, {"context_length"}).get("context_length")


def bytes_per_token(path: Path) -> int | None:
    """Bytes of keys and values that one token of context takes in 16 bits; None where the file does not say.

    Too many for models some of whose layers look back over a window only.

    Raises:
        ModelError: not a GGUF file, or one that ends inside its head.
    """
    heads, width = "attention.head_count", "embedding_length"
    told = _numbers(
        path, {"block_count", width, heads, f"{heads}_kv", "attention.key_length", "attention.value_length"}
    )
    if not all(told.get(key) for key in ("block_count", width, heads)):
        return None
    each = told[width] // told[heads]
    both = told.get("attention.key_length", each) + told.get("attention.value_length", each)
    return told["block_count"] * told.get(f"{heads}_kv", told[heads]) * both * 2


def _numbers(path: Path, wanted: set[str]) -> dict[str, int]:
    """Whole numbers of the head, by their keys without the name of the architecture; read until all are found."""
    found: dict[str, int] = {}
    try:
        with path.open("rb") as file:
            if file.read(4) != b"GGUF":
                raise ModelError(f"{path} is not a GGUF file")
            version, _, entries = struct.unpack("<IQQ", _read(file, 20))
            if version not in (2, 3) or entries > _MANY:
                raise ModelError(f"{path} is GGUF version {version}; versions 2 and 3 are read")
            for _ in range(entries):
                key = _string(file).partition(b".")[2].decode("utf-8", "replace")
                (kind,) = struct.unpack("<I", _read(file, 4))
                if key in wanted and kind in (_UINT32, _UINT64):
                    found[key] = int.from_bytes(_read(file, _SIZES[kind]), "little")
                    if len(found) == len(wanted):
                        break
                else:
                    _skip(file, kind)
    except (OSError, struct.error, EOFError) as error:
        raise ModelError(f"{path} cannot be read as GGUF: {error or 'it ends too early'}") from error
    return found


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
