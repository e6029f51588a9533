"""Answers only where enough of its answers are right: a threshold with a promise, learnt on labelled questions."""

from __future__ import annotations

import json
import math
import os
import time
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from llmkit.errors import DataError
from llmkit.part import Part
from llmkit.protocols import Context
from llmkit.types import Answer, Event, State

NOT_SURE = "Not sure enough to answer."


@dataclass(frozen=True, slots=True)
class Calibration:
    """A threshold of confidence, the promise it keeps, and what it was learnt from."""

    pipeline: str
    """Digest of the steps before the one that abstains."""
    error: float
    """Share of wrong answers among those given that is not exceeded …"""
    confidence: float
    """… unless the calibration questions were an unlucky draw, which has at most the probability 1 - confidence."""
    threshold: float | None
    """Least confidence of an answer that is given; None: no threshold keeps the promise, and nothing is answered."""
    figure: str
    """What told right from wrong."""
    task: str
    dataset: str
    """Digest of the questions."""
    asked: int
    """Questions the threshold was tested on."""
    answered: int
    """Of them, those it answers."""
    wrong: int
    """Of them, those it answers wrongly."""
    tuned: int
    """Further questions, on which the thresholds to be tested were chosen."""
    needed: int
    """Answered questions without one error that a promise takes at least."""
    scores: tuple[float, ...]
    """Confidence of every answer the pipeline gave to the questions, in their order: what drift is told from."""
    made: str = ""

    def save(self, path: Path) -> None:
        """Write the file whole or not at all.

        Raises:
            DataError: it cannot be written.
        """
        fresh = path.with_name(f"{path.name}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            row = {"kind": "llmkit abstention", "version": 1, **asdict(self)}
            fresh.write_text(json.dumps(row, indent=1) + "\n", encoding="utf-8")
            fresh.replace(path)
        except OSError as error:
            raise DataError(f"{path} cannot be written: {error}") from error


def read_calibration(path: Path) -> Calibration:
    """The calibration in a file.

    Raises:
        DataError: there is none, or it is damaged.
    """
    try:
        row = json.loads(path.read_text(encoding="utf-8"))
        if row["kind"] != "llmkit abstention" or row["version"] != 1:
            raise ValueError("not a calibration of this version")
        found = Calibration(**{field.name: row[field.name] for field in fields(Calibration)})
        limit = found.threshold
        if limit is not None and not (isinstance(limit, int | float) and math.isfinite(limit)):
            raise ValueError(f"the threshold is {limit!r}")
    except FileNotFoundError as error:
        raise DataError(
            f"there is no calibration {path}: make it with `llmkit abstain learn PIPELINE --task TASK`"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"the calibration {path} cannot be read: {error}") from error
    return found


class Abstain(Part):
    """Gives an answer only where its confidence reaches a threshold learnt by ``llmkit abstain learn``.

    The promise: of the answers given, no more than `error` are wrong, with probability `confidence` over the draw of
    the calibration questions, for questions drawn like those (Learn then Test, Angelopoulos et al. 2021, arXiv
    2110.01052). The confidence is what the last step before it that has one says: ``extract``, ``self-consistency``.
    A calibration of another pipeline, prompt, model or promise is refused.
    """

    family: ClassVar[str] = "step"
    type: ClassVar[str] = "abstain"
    needs: ClassVar[frozenset[str]] = frozenset({"question", "answer"})
    gives: ClassVar[frozenset[str]] = frozenset({"answer"})
    withholds: ClassVar[bool] = True
    """What the steps before it say is not shown before it is decided whether it may be."""

    error: float = Field(default=0.05, gt=0, lt=1)
    """Most wrong answers, as a share of those given."""
    confidence: float = Field(default=0.95, gt=0, lt=1)
    """Probability with which the promise holds."""
    calibration: str = ".llmkit/abstention.json"
    """File that `llmkit abstain learn` writes."""
    log: str | None = None
    """File to which the confidence of every answer is appended, for `llmkit abstain watch`; none: nothing is kept."""

    def run(self, state: State, ctx: Context) -> State:
        """Take ``state.answer`` away where it is not sure enough.

        Raises:
            DataError: no calibration, one of something else, or no confidence to go by.
        """
        answer = state.answer
        if answer is None or answer.abstained:
            return state
        learnt = self._calibration
        self._check(learnt, ctx.identity)
        sure = confidence_of(state)
        if sure is None:
            raise DataError("no step before it says how sure it is: extract and self-consistency do")
        given = learnt.threshold is not None and sure >= learnt.threshold
        ctx.record(sure=sure, threshold=learnt.threshold, answered=given)
        if self.log is not None:
            _append(Path(self.log).expanduser(), {"time": round(time.time(), 3), "confidence": sure, "answered": given})
        if given:
            ctx.emit(Event("token", text=answer.text))
            return state
        if learnt.threshold is None:
            ctx.note("no threshold keeps the promise on the calibration questions: nothing is answered")
        else:
            ctx.note(f"the confidence is {sure:.3f}, below the threshold of {learnt.threshold:.3f}: no answer is given")
        return state.replace(answer=Answer(NOT_SURE, abstained=True))

    def _check(self, learnt: Calibration, identity: str) -> None:
        again = "run `llmkit abstain learn` again"
        if (learnt.error, learnt.confidence) != (self.error, self.confidence):
            raise DataError(
                f"{self.calibration} promises an error of {learnt.error:g} with confidence {learnt.confidence:g}; this "
                f"step asks for {self.error:g} with {self.confidence:g}: {again}"
            )
        if learnt.pipeline != identity:
            raise DataError(
                f"{self.calibration} was learnt with another pipeline ({learnt.pipeline}, this is {identity}): a "
                f"setting, a prompt, a model or llmkit itself has changed, and the promise does not carry over; {again}"
            )

    @cached_property
    def _calibration(self) -> Calibration:
        return read_calibration(Path(self.calibration).expanduser())


def confidence_of(state: State) -> float | None:
    """What the last step that has one says of how sure it is."""
    said = [record.detail["confidence"] for record in state.records if "confidence" in record.detail]
    return float(said[-1]) if said else None


def _append(path: Path, row: dict[str, Any]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(file, (json.dumps(row) + "\n").encode())
        finally:
            os.close(file)
    except OSError as error:
        raise DataError(f"the log {path} cannot be written: {error}") from error
