"""Evaluates an encoder graph with NumPy in float32: slow, and without a line in common with the runtimes.

:class:`NumpyGraph` is built by the same calls as the ONNX file, and computes each operator where
:class:`~llmkit.encoders.runtime.bert_graph.BertGraph` writes it down. Its results are the reference that a runtime is
checked against. Operators and attributes are those of ONNX, opset 18 (https://onnx.ai/onnx/operators/).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmkit.encoders.runtime.bert_graph import BertGraph
from llmkit.encoders.runtime.runtimes import Batch

Array = NDArray[Any]
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
"""Names of a graph's inputs, in the order of a batch."""


class NumpyGraph(BertGraph):
    """A graph that holds the values of one batch."""

    def __init__(self, folder: Path, config: dict[str, Any], tensors: dict[str, Any], inputs: dict[str, Array]) -> None:
        super().__init__(folder, config, tensors)
        self.values: dict[str, Array] = dict(inputs)
        self.result: Array | None = None
        """What the graph gives, once it is finished."""

    def const(self, value: Any) -> str:
        """Keep a constant; returns its name."""
        array = np.asarray(value)
        name = self.fresh("c")
        self.values[name] = array.astype(np.float32) if array.dtype in (np.float16, np.float64) else array
        return name

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Compute an operator; returns the name of its result."""
        name = self.fresh(kind)
        self.values[name] = _OPERATORS[kind](*(self.values[one] for one in inputs), **attributes)
        return name

    def finish(self, inputs: list[str], result: str, name: str, shape: list[str | int]) -> bytes:
        """Keep the result; nothing is serialised."""
        self.result = self.values[result].astype(np.float32)
        return b""


def evaluate(work: Iterable[Batch], build: Callable[[dict[str, Array]], NumpyGraph], width: int) -> NDArray[np.float32]:
    """Results of batches, (rows, width).

    Args:
        work: the batches.
        build: makes the graph of one batch from its inputs, by name.
        width: columns of the result.
    """
    parts = []
    for rows, *inputs in work:
        result = build(dict(zip(INPUTS, inputs, strict=False))).result
        assert result is not None  # build() ends with finish()
        parts.append((rows, result))
    results = np.empty((sum(len(rows) for rows, _ in parts), width), dtype=np.float32)
    for rows, values in parts:
        results[rows] = values
    return results


def _layer_normalization(x: Array, scale: Array, shift: Array, *, axis: int, epsilon: float) -> Array:
    centred = x - x.mean(axis, keepdims=True)
    variance = (centred * centred).mean(axis, keepdims=True)
    normalized: Array = centred / np.sqrt(variance + np.float32(epsilon)) * scale + shift
    return normalized


def _softmax(x: Array, *, axis: int) -> Array:
    powers = np.exp(x - x.max(axis, keepdims=True))
    shares: Array = powers / powers.sum(axis, keepdims=True)
    return shares


def _erf(x: Array) -> Array:
    return np.fromiter(map(math.erf, x.ravel().tolist()), dtype=np.float32, count=x.size).reshape(x.shape)


def _reshape(x: Array, shape: Array) -> Array:
    """A size of 0 keeps the size that is there."""
    return x.reshape([x.shape[i] if size == 0 else int(size) for i, size in enumerate(shape.tolist())])


def _cast(x: Array, *, to: int) -> Array:
    """The encoder graphs cast to float32 only."""
    return x.astype(np.float32)


def _axes(axes: Array) -> tuple[int, ...]:
    return tuple(int(axis) for axis in axes)


_OPERATORS: dict[str, Callable[..., Array]] = {
    "Add": np.add,
    "Cast": _cast,
    "CumSum": lambda x, axis: np.cumsum(x, int(axis)),
    "Div": np.divide,
    "Erf": _erf,
    "Gather": lambda x, indices, *, axis: np.take(x, indices, axis=axis),
    "LayerNormalization": _layer_normalization,
    "MatMul": np.matmul,
    "Max": np.maximum,
    "Mul": np.multiply,
    "Range": lambda start, stop, step: np.arange(int(start), int(stop), int(step)),
    "ReduceL2": lambda x, axes, *, keepdims: np.sqrt((x * x).sum(_axes(axes), keepdims=bool(keepdims))),
    "ReduceMax": lambda x, axes, *, keepdims: x.max(_axes(axes), keepdims=bool(keepdims)),
    "ReduceSum": lambda x, axes, *, keepdims: x.sum(_axes(axes), keepdims=bool(keepdims)),
    "Reshape": _reshape,
    "Shape": lambda x: np.array(x.shape, np.int64),
    "Softmax": _softmax,
    "Sub": np.subtract,
    "Tanh": np.tanh,
    "Transpose": lambda x, *, perm: x.transpose(perm),
    "Unsqueeze": lambda x, axes: np.expand_dims(x, _axes(axes)),
}
