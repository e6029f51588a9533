"""Step ``abstain``: gives an answer only above a confidence threshold that bounds the share of wrong answers."""

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
    """A confidence threshold, the guarantee it gives, and the questions it was calibrated on."""

    pipeline: str
    """Digest of the steps before ``abstain``."""
    error: float
    """Guarantee: the share of wrong answers among the answers given is at most this …"""
    confidence: float
    """… with this probability over the draw of the calibration questions."""
    threshold: float | None
    """Lowest confidence of an answer that is given; None: no threshold gives the guarantee, and nothing is answered."""
    figure: str
    """Name of the metric that decided which answers are right."""
    task: str
    """Name of the task the questions come from."""
    dataset: str
    """Digest of the questions."""
    asked: int
    """Number of questions the threshold was tested on."""
    answered: int
    """Number of these that the threshold answers."""
    wrong: int
    """Number of these that are answered wrongly."""
    tuned: int
    """Number of further questions, on which the thresholds to test were chosen."""
    needed: int
    """Smallest number of answered questions, all without an error, that can give the guarantee."""
    scores: tuple[float, ...]
    """Confidence of every answer to the questions, in their order; drift is measured against these."""
    made: str = ""
    """When the calibration was made."""

    def save(self, path: Path) -> None:
        """Write the file atomically.

        Raises:
            DataError: the file cannot be written.
        """
        temporary = path.with_name(f"{path.name}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            row = {"kind": "llmkit abstention", "version": 1, **asdict(self)}
            temporary.write_text(json.dumps(row, indent=1) + "\n", encoding="utf-8")
            temporary.replace(path)
        except OSError as error:
            raise DataError(f"{path} cannot be written: {error}") from error


def read_calibration(path: Path) -> Calibration:
    """Read the calibration in a file.

    Raises:
        DataError: the file is missing or damaged.
    """
    try:
        row = json.loads(path.read_text(encoding="utf-8"))
        if row["kind"] != "llmkit abstention" or row["version"] != 1:
            raise ValueError("not a calibration of this version")
        calibration = Calibration(**{field.name: row[field.name] for field in fields(Calibration)})
        threshold = calibration.threshold
        if threshold is not None and not (isinstance(threshold, int | float) and math.isfinite(threshold)):
            raise ValueError(f"the threshold is {threshold!r}")
    except FileNotFoundError as error:
        raise DataError(
            f"there is no calibration {path}: make one with `llmkit abstain learn PIPELINE --task TASK`"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"the calibration {path} cannot be read: {error}") from error
    return calibration


class Abstain(Part):
    """Gives an answer only where its confidence reaches the threshold that ``llmkit abstain learn`` calibrated.

    The guarantee: of the answers given, at most the share `error` is wrong, with probability `confidence` over the draw
    of the calibration questions, for questions drawn like those (Learn then Test, Angelopoulos et al. 2021, arXiv
    2110.01052). The confidence of an answer comes from the last earlier step that records one: ``extract`` or
    ``self-consistency``. The step refuses a calibration of another pipeline, prompt, model or guarantee.
    """

    family: ClassVar[str] = "step"
    type: ClassVar[str] = "abstain"
    needs: ClassVar[frozenset[str]] = frozenset({"question", "answer"})
    gives: ClassVar[frozenset[str]] = frozenset({"answer"})
    withholds: ClassVar[bool] = True
    """Tokens of earlier steps are not shown before this step has decided whether to give the answer."""

    error: float = Field(default=0.05, gt=0, lt=1)
    """Maximum share of wrong answers among the answers given."""
    confidence: float = Field(default=0.95, gt=0, lt=1)
    """Probability with which the guarantee holds."""
    calibration: str = ".llmkit/abstention.json"
    """File that `llmkit abstain learn` wrote."""
    log: str | None = None
    """File to which the confidence of every answer is appended, for `llmkit abstain watch`; null: no file."""

    def run(self, state: State, ctx: Context) -> State:
        """Replace ``state.answer`` by an abstention where its confidence is below the threshold.

        Raises:
            DataError: the calibration is missing or belongs to something else, or no step recorded a confidence.
        """
        answer = state.answer
        if answer is None or answer.abstained:
            return state
        calibration = self._calibration
        self._check(calibration, ctx.identity)
        confidence = confidence_of(state)
        if confidence is None:
            raise DataError("no earlier step records a confidence: use extract or self-consistency before abstain")
        given = calibration.threshold is not None and confidence >= calibration.threshold
        ctx.record(sure=confidence, threshold=calibration.threshold, answered=given)
        if self.log is not None:
            _append(
                Path(self.log).expanduser(),
                {"time": round(time.time(), 3), "confidence": confidence, "answered": given},
            )
        if given:
            ctx.emit(Event("token", text=answer.text))
            return state
        if calibration.threshold is None:
            ctx.note("no threshold gives the guarantee on the calibration questions: nothing is answered")
        else:
            ctx.note(
                f"the confidence is {confidence:.3f}, below the threshold of {calibration.threshold:.3f}: "
                "no answer is given"
            )
        return state.replace(answer=Answer(NOT_SURE, abstained=True))

    def _check(self, calibration: Calibration, identity: str) -> None:
        again = "run `llmkit abstain learn` again"
        if (calibration.error, calibration.confidence) != (self.error, self.confidence):
            raise DataError(
                f"{self.calibration} guarantees an error of {calibration.error:g} with confidence "
                f"{calibration.confidence:g}; this step asks for {self.error:g} with {self.confidence:g}: {again}"
            )
        if calibration.pipeline != identity:
            raise DataError(
                f"{self.calibration} was calibrated with another pipeline ({calibration.pipeline}, this is "
                f"{identity}): a setting, a prompt, a model or llmkit itself has changed, and the guarantee does not "
                f"carry over; {again}"
            )

    @cached_property
    def _calibration(self) -> Calibration:
        return read_calibration(Path(self.calibration).expanduser())


def confidence_of(state: State) -> float | None:
    """The confidence that the last step with one recorded; None where no step did."""
    recorded = [record.detail["confidence"] for record in state.records if "confidence" in record.detail]
    return float(recorded[-1]) if recorded else None


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
