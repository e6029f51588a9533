"""Running an encoder graph: OpenVINO or ONNX Runtime behind one function."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llmkit.encoders.runtime.capabilities import Precision, RuntimeName
from llmkit.extras import optional
from llmkit.no_telemetry import silence_openvino

Batch = tuple[NDArray[np.int64], ...]
"""Row numbers in the result, then the inputs of the graph in its order: token ids, attention mask, token types."""
Runner = Callable[[Iterable[Batch], NDArray[np.float32]], None]
"""A function that runs batches and writes their results into the rows of an array."""


def open_runtime(runtime: RuntimeName, graph: Path, precision: Precision, threads: int) -> Runner:
    """Load a graph and return a function that runs batches through it."""
    return _openvino(graph, precision, threads) if runtime == "openvino" else _onnxruntime(graph, threads)


def batches(ids: list[list[int]], *, budget: int, max_texts: int) -> Iterator[Batch]:
    """Group texts of similar length into batches, longest first, so that few tokens are padding.

    Args:
        ids: token ids of each text.
        budget: largest number of tokens in a batch, padding included.
        max_texts: largest number of texts in a batch.
    """
    lengths = np.array([len(row) for row in ids])
    order = np.argsort(-lengths, kind="stable")
    at = 0
    while at < len(order):
        width = max(1, int(lengths[order[at]]))
        rows = order[at : at + max(1, min(max_texts, budget // width))]
        tokens = np.zeros((len(rows), width), dtype=np.int64)
        mask = np.zeros_like(tokens)
        for i, row in enumerate(rows):
            tokens[i, : lengths[row]] = ids[row]
            mask[i, : lengths[row]] = 1
        yield rows, tokens, mask
        at += len(rows)


def _openvino(graph: Path, precision: Precision, threads: int) -> Runner:
    silence_openvino()
    with optional():
        import openvino

    settings = {
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
    }
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(graph), "CPU", settings)

    def run(work: Iterable[Batch], out: NDArray[np.float32]) -> None:
        request = compiled.create_infer_request()  # one a call, so that threads do not share one
        for rows, *inputs in work:
            request.infer(dict(enumerate(inputs)), share_inputs=True)
            out[rows] = request.get_output_tensor(0).data

    return run


def _onnxruntime(graph: Path, threads: int) -> Runner:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    def run(work: Iterable[Batch], out: NDArray[np.float32]) -> None:
        names = [one.name for one in session.get_inputs()]
        for rows, *inputs in work:
            out[rows] = session.run(None, dict(zip(names, inputs, strict=True)))[0]

    return run
