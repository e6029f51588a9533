"""Checks a runtime against a known result before its first use on a machine.

A runtime can return wrong numbers without an error: OpenVINO in bfloat16 does so on processors without bfloat16
arithmetic. The check runs fixed inputs through the runtime, compares the results with a reference, and keeps the
verdict in ``LLMKIT_HOME/self_checks``. The verdict holds for one kind of processor, one version of the runtime, one
precision and one set of weights; if any of them changes, the check runs again.

This module knows neither encoders nor chat models. A caller describes the :class:`Subject` and passes a function that
computes an :class:`Agreement`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Literal
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from llmkit import cpu
from llmkit.weights.store import home

MIN_COSINE = {"f32": 0.999, "bf16": 0.999, "int8": 0.97}
"""Smallest cosine between a vector and its reference. Eight-bit weights move vectors more: .983 to .999 measured."""
MAX_ERROR = {"f32": 0.001, "bf16": 0.05, "int8": 0.25}
"""Largest difference between a score and its reference, as a share of the largest reference (of 1 if that is less)."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A runtime with a precision and the weights that it runs."""

    runtime: str
    version: str
    """Version of the runtime."""
    precision: str
    weights: str
    """SHA-256 of the weights, hex."""
    settings: str = ""
    """What else shapes the results: pooling, version of the graph."""

    @property
    def key(self) -> str:
        """32 hex digits that stand for the subject on this kind of processor."""
        parts = json.dumps([cpu.fingerprint(), *astuple(self)])
        return hashlib.sha256(parts.encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Agreement:
    """How well results agree with their reference."""

    passed: bool
    measured: str
    """The figure and its limit in words."""


class Verdict(BaseModel):
    """The outcome of one check, as it is kept on disk."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: Literal[1] = 1
    key: str
    passed: bool
    measured: str
    """The figure and its limit in words."""
    milliseconds: float
    """Duration of the check, the loading of the weights left out."""


def run_check(subject: Subject, measure: Callable[[], Agreement]) -> Verdict:
    """Return the kept verdict, or call `measure` and keep what it finds.

    A kept verdict that is damaged or of another format is measured again. Several processes may run the same check at
    the same time: each writes a whole file. If the folder cannot be written to, the next process checks again.

    Args:
        subject: what is checked.
        measure: runs the inputs and compares. What it raises is passed on, and no verdict is kept.
    """
    kept = read_verdict(subject)
    if kept is not None:
        return kept
    start = time.perf_counter()
    agreement = measure()
    verdict = Verdict(
        key=subject.key,
        passed=agreement.passed,
        measured=agreement.measured,
        milliseconds=round((time.perf_counter() - start) * 1000, 1),
    )
    _write(verdict)
    return verdict


def read_verdict(subject: Subject) -> Verdict | None:
    """The verdict that this machine keeps, or None."""
    try:
        verdict = Verdict.model_validate_json(_file(subject.key).read_bytes())
    except (OSError, ValidationError):
        return None
    return verdict if verdict.key == subject.key else None


def compare_vectors(vectors: NDArray[np.float32], reference: NDArray[np.float32], precision: str) -> Agreement:
    """Compare two arrays (n, dim) by the smallest cosine of their rows; see :data:`MIN_COSINE`."""
    least = MIN_COSINE[precision]
    if vectors.shape != reference.shape or not np.isfinite(vectors).all():
        return Agreement(False, f"vectors of shape {vectors.shape} that are not all finite or not {reference.shape}")
    found, wanted = vectors.astype(np.float64), reference.astype(np.float64)
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(wanted, axis=1)
    cosine = float(np.min((found * wanted).sum(axis=1) / np.maximum(lengths, 1e-30)))
    return Agreement(cosine >= least, f"cosine {cosine:.4f} to the reference, at least {least} is needed")


def compare_scores(scores: NDArray[np.float32], reference: NDArray[np.float32], precision: str) -> Agreement:
    """Compare two arrays of scores by their largest difference; see :data:`MAX_ERROR`."""
    if scores.shape != reference.shape or not np.isfinite(scores).all():
        return Agreement(False, f"scores of shape {scores.shape} that are not all finite or not {reference.shape}")
    limit = MAX_ERROR[precision] * max(1.0, float(np.abs(reference).max(initial=0.0)))
    error = float(np.abs(scores.astype(np.float64) - reference).max(initial=0.0))
    return Agreement(error <= limit, f"difference {error:.2g} to the reference, at most {limit:.2g} is allowed")


def _file(key: str) -> Path:
    return home() / "self_checks" / f"{key}.json"


def _write(verdict: Verdict) -> None:
    file = _file(verdict.key)
    draft = file.with_suffix(f".{os.getpid()}-{uuid4().hex[:8]}.tmp")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(verdict.model_dump_json(indent=1), encoding="utf-8")
        draft.replace(file)
    except OSError:  # a read-only home: the verdict holds for this process
        with contextlib.suppress(OSError):
            draft.unlink()
