"""Chooses the runtime and precision of a graph, and checks it before its first use on this machine.

The reference comes with the weights where the catalogue has it. For weights of the user's own, NumPy computes it in
float32; see :mod:`.numpy_graph`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llmkit.encoders.runtime.capabilities import Choice, candidates, every_candidate
from llmkit.encoders.runtime.graph_cache import GRAPH_VERSION
from llmkit.encoders.runtime.runtimes import Batch, Runner, open_runtime
from llmkit.errors import ModelError, UnsupportedPrecision
from llmkit.weights.self_check import Agreement, Subject, Verdict, read_verdict, run_check

TEXTS = (
    "pump",
    "What does the warranty exclude?",
    "The seal of the pump must be replaced every 2,000 hours; cold water voids the warranty.",
)
"""Inputs of the check: one batch with padding. Short, so that the check takes milliseconds."""
Comparison = Callable[[NDArray[np.float32], NDArray[np.float32], str], Agreement]


@dataclass(frozen=True)
class CheckedGraph:
    """A graph and what its check needs."""

    name: str
    """Of the model, for messages."""
    file: Path
    """The ONNX graph."""
    weights: str
    """SHA-256 of the weights, hex."""
    settings: str
    """What else shapes the results."""
    prepare: Callable[[], list[Batch]]
    """Makes the batches of the check."""
    reference: Callable[[list[Batch]], NDArray[np.float32]]
    """Gives the expected results of the batches, (texts, width)."""
    compare: Comparison
    threads: int = 1

    @cached_property
    def inputs(self) -> list[Batch]:
        """Batches of the check."""
        return self.prepare()

    @cached_property
    def expected(self) -> NDArray[np.float32]:
        """Expected results, (texts, width)."""
        return self.reference(self.inputs)


@dataclass(frozen=True)
class Selection:
    """The runtime in use."""

    choice: Choice
    graph: CheckedGraph
    notes: tuple[str, ...]
    """What the user should know: which faster candidate was passed over, and why."""
    opened: Runner | None
    """The runtime that the check has loaded; None if the verdict was kept."""

    @cached_property
    def run(self) -> Runner:
        """Runs batches through the graph; loads it on first use."""
        return self.opened or _open(self.choice, self.graph)


def select(runtime: str, precision: str, graph: CheckedGraph) -> Selection:
    """Choose the best candidate that passes its check.

    Args:
        runtime: ``auto``, ``openvino`` or ``onnxruntime``.
        precision: ``auto``, ``f32`` or ``bf16``.
        graph: what is to run.

    Raises:
        UnsupportedPrecision: the precision that was asked for fails its check, or no runtime offers it.
        ModelError: no candidate passes.

    Warns:
        RuntimeWarning: the best candidate failed and another one is used.
    """
    failures: list[str] = []
    offered = candidates(runtime, precision)
    for choice in offered:
        try:
            verdict, opened = check(choice, graph)
        except ModelError as error:
            failures.append(str(error))
            continue
        if verdict.passed:
            note = f"{graph.name} runs on {_words(choice)}, because {'; '.join(failures)}" if failures else ""
            if note:
                warnings.warn(note, RuntimeWarning, stacklevel=2)
            return Selection(choice, graph, (note,) if note else (), opened)
        failures.append(f"{_words(choice)} computes wrong results on this CPU ({verdict.measured})")
    if precision == "bf16":
        raise UnsupportedPrecision(f"{graph.name}: {'; '.join(failures)}. Set precision to f32 or auto")
    others = "" if runtime == "auto" else ". Set runtime to auto, to try the other one"
    raise ModelError(f"{graph.name}: no runtime can be used on this machine: {'; '.join(failures)}{others}")


def checked_candidates(graph: CheckedGraph) -> list[tuple[Choice, Verdict | str]]:
    """Every installed runtime and precision with its verdict, or with the reason why it does not run."""
    outcomes: list[tuple[Choice, Verdict | str]] = []
    for choice in every_candidate():
        try:
            outcomes.append((choice, check(choice, graph)[0]))
        except ModelError as error:
            outcomes.append((choice, str(error)))
    return outcomes


def check(choice: Choice, graph: CheckedGraph) -> tuple[Verdict, Runner | None]:
    """The verdict on one candidate, and the runtime where the check had to load it.

    Raises:
        ModelError: the runtime does not load or run the graph.
    """

    def measure() -> Agreement:
        results = np.full(graph.expected.shape, np.nan, dtype=np.float32)
        try:
            run(graph.inputs, results)
        except RuntimeError as error:
            raise _failure(choice, error) from error
        return graph.compare(results, graph.expected, choice.precision)

    subject = Subject(
        choice.runtime, choice.version, choice.precision, graph.weights, f"{graph.settings} {GRAPH_VERSION}"
    )
    kept = read_verdict(subject)
    if kept is not None:
        return kept, None
    run = _open(choice, graph)
    _ = graph.inputs, graph.expected  # not part of the time that the check takes
    return run_check(subject, measure), run


def _open(choice: Choice, graph: CheckedGraph) -> Runner:
    try:
        return open_runtime(choice.runtime, graph.file, choice.precision, graph.threads)
    except RuntimeError as error:
        raise _failure(choice, error) from error


def _failure(choice: Choice, error: RuntimeError) -> ModelError:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return ModelError(f"{_words(choice)} fails ({lines[-1] if lines else type(error).__name__})")


def _words(choice: Choice) -> str:
    return f"{choice.runtime} {choice.version} in {choice.precision}"
