"""Write an ONNX model: the few messages of the format that an encoder graph needs.

The package ``onnx`` would bring 31 MB for these sixty lines. Field numbers are those of ``onnx.proto``
(https://onnx.ai/onnx/repo-docs/IR.html); a test reads what is written here with that package and runs its checker.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

IR_VERSION = 9
OPSET = 18
FLOAT, INT64 = 1, 7
"""Element types of a tensor."""
_ELEMENT_TYPES = {np.dtype(np.float32): FLOAT, np.dtype(np.int64): INT64}
_ATTRIBUTE_FLOAT, _ATTRIBUTE_INT, _ATTRIBUTE_INTS = 1, 2, 7

Attribute = int | float | Sequence[int]


def node(kind: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Attribute) -> bytes:
    """A NodeProto: an operator of the default domain, applied to named values."""
    parts = [_text(1, name) for name in inputs] + [_text(2, name) for name in outputs] + [_text(4, kind)]
    return b"".join([*parts, *(_bytes(5, _attribute(*item)) for item in attributes.items())])


def tensor(name: str, value: NDArray[np.float32] | NDArray[np.int64]) -> bytes:
    """A TensorProto: a constant of type float32 or int64."""
    little = np.ascontiguousarray(value, dtype=value.dtype.newbyteorder("<"))
    dims = b"".join(_integer(1, size) for size in value.shape)
    return dims + _integer(2, _ELEMENT_TYPES[value.dtype]) + _text(8, name) + _bytes(9, little.tobytes())


def value_info(name: str, element_type: int, shape: Sequence[str | int]) -> bytes:
    """A ValueInfoProto: an input or output; a dimension is a size, or a name where it varies."""
    dims = [_text(2, size) if isinstance(size, str) else _integer(1, size) for size in shape]
    dimensions = b"".join(_bytes(1, one) for one in dims)
    return _text(1, name) + _bytes(2, _bytes(1, _integer(1, element_type) + _bytes(2, dimensions)))


def model(
    nodes: Iterable[bytes], constants: Iterable[bytes], inputs: Iterable[bytes], outputs: Iterable[bytes]
) -> bytes:
    """A ModelProto, serialised: what an ``.onnx`` file holds."""
    graph = [*(_bytes(1, one) for one in nodes), _text(2, "encoder"), *(_bytes(5, one) for one in constants)]
    graph += [*(_bytes(11, one) for one in inputs), *(_bytes(12, one) for one in outputs)]
    opset = _text(1, "") + _integer(2, OPSET)
    return _integer(1, IR_VERSION) + _bytes(7, b"".join(graph)) + _bytes(8, opset)


def _attribute(name: str, value: Attribute) -> bytes:
    if isinstance(value, float):
        return _text(1, name) + _key(2, 5) + struct.pack("<f", value) + _integer(20, _ATTRIBUTE_FLOAT)
    if isinstance(value, int):
        return _text(1, name) + _integer(3, value) + _integer(20, _ATTRIBUTE_INT)
    return _text(1, name) + b"".join(_integer(8, one) for one in value) + _integer(20, _ATTRIBUTE_INTS)


def _key(field: int, wire_type: int) -> bytes:
    return _varint(field << 3 | wire_type)


def _integer(field: int, value: int) -> bytes:
    return _key(field, 0) + _varint(value & 0xFFFFFFFFFFFFFFFF)  # negative numbers take 64 bits of two's complement


def _text(field: int, value: str) -> bytes:
    return _bytes(field, value.encode())


def _bytes(field: int, value: bytes) -> bytes:
    return _key(field, 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
