"""The checkpoint of a training that has not finished: parameters, optimiser, random state and progress.

::

    OUT.training/
      checkpoint.safetensors      tensors; the header holds the progress and what identifies the training, as JSON
      best-120.safetensors        the parameters of step 120, the best evaluation so far

The checkpoint names the step of its best parameters, and an older file of best parameters is removed only after a
checkpoint that no longer needs it has been written. A process that is killed at any moment therefore leaves a
checkpoint and the best parameters that belong to it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from llmkit.errors import DataError
from llmkit.training.atomic_write import write_tensors

_MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # what AdamW keeps for each parameter
_FORMAT = "1"
_LONGEST_VALUE = 60  # characters of a setting in a message


@dataclass
class TrainingState:
    """How far a training has come, and what was measured on the way."""

    step: int = 0
    """Optimiser steps done."""
    epoch: int = 0
    """Epochs done."""
    batch: int = 0
    """Batches of the current epoch done."""
    losses: list[float] = field(default_factory=list)
    """The loss of every step."""
    dev: list[dict[str, float]] = field(default_factory=list)
    """Every evaluation on the dev set: ``step`` and its figures."""
    best: float = float("-inf")
    """The best dev figure; a figure that is minimised is stored with the opposite sign."""
    best_step: int = 0
    """The step whose parameters are kept: the best evaluation, or the last step if there is no dev set."""
    evaluations_since_best: int = 0
    tokens: int = 0
    """Tokens of the training data read so far, padding not counted."""
    seconds: float = 0.0
    """Time spent, over all runs of the command."""
    done: bool = False


class Checkpoint:
    """The folder ``OUT.training`` beside the folder that a training will write.

    Args:
        out: the folder that the training will write.
        identity: everything that decides the result, as JSON values: settings, and digests of base and data. A
            checkpoint with another identity is refused.
    """

    def __init__(self, out: Path, identity: Mapping[str, Any]) -> None:
        self.folder = out.with_name(f"{out.name}.training")
        self.file = self.folder / "checkpoint.safetensors"
        self._identity = _flat(json.loads(json.dumps(identity, default=str)))

    def save(self, parameters: Mapping[str, Any], optimizer: Any, state: TrainingState) -> None:
        """Write the checkpoint, then remove the best parameters that it no longer needs.

        Raises:
            DataError: the disk is full or cannot be written; the previous checkpoint is unchanged.
        """
        import torch

        tensors = {f"parameter.{name}": value.detach() for name, value in parameters.items()}
        for name, value in parameters.items():
            for kind, moment in optimizer.state.get(value, {}).items():
                tensors[f"optimizer.{kind}.{name}"] = torch.as_tensor(moment)
        tensors["random"] = torch.get_rng_state()
        header = {
            "format": _FORMAT,
            "state": json.dumps(asdict(state)),
            "identity": json.dumps(self._identity),
        }
        write_tensors(self.file, tensors, header)
        for path in self.folder.glob("best-*.safetensors"):
            if path != self._best(state.best_step):
                path.unlink()

    def load(self, parameters: Mapping[str, Any], optimizer: Any) -> TrainingState | None:
        """Restore parameters, optimiser and torch's random state; None if there is no checkpoint.

        Raises:
            DataError: the checkpoint belongs to a training with other settings, base or data (the message names what
                differs), or it is damaged.
        """
        import torch
        from safetensors import SafetensorError, safe_open

        if not self.file.is_file():
            return None
        try:
            with safe_open(self.file, framework="pt") as file:
                header = file.metadata() or {}
                self._refuse_other(header)
                names = set(file.keys())
                with torch.no_grad():
                    for name, value in parameters.items():
                        value.copy_(file.get_tensor(f"parameter.{name}"))
                for name, value in parameters.items():
                    keys = {kind: f"optimizer.{kind}.{name}" for kind in _MOMENTS}
                    if keys["step"] in names:
                        optimizer.state[value] = {kind: file.get_tensor(key) for kind, key in keys.items()}
                torch.set_rng_state(file.get_tensor("random"))
            return TrainingState(**json.loads(header["state"]))
        except (SafetensorError, KeyError, TypeError, RuntimeError, OSError) as error:
            raise DataError(f"{self.file} cannot be read ({error}): start over with --fresh") from error

    def save_best(self, parameters: Mapping[str, Any], step: int) -> None:
        """Keep the parameters of a step.

        Raises:
            DataError: the disk is full or cannot be written.
        """
        write_tensors(self._best(step), {name: value.detach() for name, value in parameters.items()}, {})

    def load_best(self, parameters: Mapping[str, Any], step: int) -> None:
        """Restore the parameters that :meth:`save_best` kept for a step.

        Raises:
            DataError: the file is missing or damaged.
        """
        import torch
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            tensors = load_file(self._best(step))
            with torch.no_grad():
                for name, value in parameters.items():
                    value.copy_(tensors[name])
        except (SafetensorError, KeyError, RuntimeError, OSError) as error:
            raise DataError(f"{self._best(step)} cannot be read ({error}): start over with --fresh") from error

    def clear(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _best(self, step: int) -> Path:
        return self.folder / f"best-{step}.safetensors"

    def _refuse_other(self, header: Mapping[str, str]) -> None:
        if header.get("format") != _FORMAT:
            raise DataError(f"{self.file} was written by another version of llmkit: start over with --fresh")
        before = json.loads(header["identity"])
        changed = sorted(name for name in {*before, *self._identity} if before.get(name) != self._identity.get(name))
        if changed:
            described = "; ".join(_described(name, before.get(name), self._identity.get(name)) for name in changed)
            raise DataError(
                f"{self.folder} holds an unfinished training with other settings: {described}. Repeat the command with "
                "the settings of before to finish it, give another `out`, or start over with --fresh"
            )


def _described(name: str, before: Any, now: Any) -> str:
    if name in ("base weights", "training data"):
        return f"the {name} are not the same"
    return f"{name} was {_short(before)} and is {_short(now)}"


def _short(value: Any) -> str:
    text = "not set" if value is None else str(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 1]}…"


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as one dictionary with dotted names, as ``--set`` writes them."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat
