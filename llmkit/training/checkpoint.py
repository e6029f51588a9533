"""The state of a training in one file that is whole or not there: safetensors, no pickle.

Parameters, AdamW's moments and the random state are tensors; where it stands, and what it has seen, is JSON in the
header.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from llmkit.errors import DataError


@dataclass
class Progress:
    """Where a training stands."""

    step: int = 0
    """Steps done."""
    epoch: int = 0
    """Epochs done."""
    batch: int = 0
    """Batches of the running epoch done."""
    losses: list[float] = field(default_factory=list)
    """Of every step."""
    dev: list[dict[str, float]] = field(default_factory=list)
    """Every evaluation: step and figures."""
    best: float = float("-inf")
    best_step: int = 0
    stale: int = 0
    """Evaluations since the best."""
    tokens: int = 0
    """Tokens learnt from, padding left out."""
    seconds: float = 0.0
    """Spent, over all sittings."""
    done: bool = False


def save(path: Path, parameters: dict[str, Any], optimizer: Any, progress: Progress, recipe: str) -> None:
    """Write the checkpoint; `recipe` is the digest of what decides the training."""
    import torch

    tensors = {f"parameter.{name}": value.detach() for name, value in parameters.items()}
    names = {id(value): name for name, value in parameters.items()}
    for value, state in optimizer.state.items():
        for key, part in state.items():
            tensors[f"optimizer.{key}.{names[id(value)]}"] = torch.as_tensor(part)
    tensors["random"] = torch.get_rng_state()
    header = {"progress": json.dumps(asdict(progress)), "recipe": recipe}
    write(path, tensors, header)


def load(path: Path, parameters: dict[str, Any], optimizer: Any, recipe: str) -> Progress:
    """Put the state back.

    Raises:
        DataError: the checkpoint belongs to another recipe or data, or is damaged.
    """
    import torch
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            if header.get("recipe") != recipe:
                raise DataError(
                    f"{path} belongs to another recipe, base or data: delete it, or give another `out`, to start anew"
                )
            names = set(file.keys())
            with torch.no_grad():
                for name, value in parameters.items():
                    value.copy_(file.get_tensor(f"parameter.{name}"))
            for name, value in parameters.items():
                prefix = "optimizer."
                state = {
                    key: file.get_tensor(f"{prefix}{key}.{name}")
                    for key in ("step", "exp_avg", "exp_avg_sq")
                    if f"{prefix}{key}.{name}" in names
                }
                if state:
                    optimizer.state[value] = state
            torch.set_rng_state(file.get_tensor("random"))
    except (SafetensorError, KeyError, RuntimeError, OSError) as error:
        raise DataError(f"{path} cannot be read ({error}): delete it to start anew") from error
    return Progress(**json.loads(header["progress"]))


def write(path: Path, tensors: dict[str, Any], header: dict[str, str]) -> None:
    """A safetensors file that appears whole or not at all, also under kill -9 and a power cut.

    Raises:
        DataError: the disk is full or cannot be written; a file that was there is as it was.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    made = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        save_file({name: value.contiguous().cpu() for name, value in tensors.items()}, made, header)
        made.chmod(0o644)  # safetensors makes files for their owner alone
        with made.open("rb+") as file:
            os.fsync(file.fileno())
        made.replace(path)
    except (SafetensorError, OSError) as error:  # safetensors has an error of its own for a full disk
        raise DataError(f"{path} cannot be written: {error}; make room and run the same again") from error
    finally:
        made.unlink(missing_ok=True)


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """A fresh folder beside `folder`, which takes its place when the block ends, and is gone where the block fails.

    Raises:
        DataError: the disk is full or cannot be written; what was there is as it was.
    """
    from safetensors import SafetensorError

    made, old = (folder.with_name(f"{folder.name}.{os.getpid()}.{word}") for word in ("tmp", "old"))
    shutil.rmtree(made, ignore_errors=True)
    try:
        made.mkdir(parents=True)
        yield made
        for path in made.rglob("*.safetensors"):
            path.chmod(0o644)  # safetensors makes files for their owner alone
        if folder.exists():
            folder.rename(old)
        made.rename(folder)
    except (SafetensorError, OSError) as error:
        if old.exists() and not folder.exists():
            old.rename(folder)
        raise DataError(f"{folder} cannot be written: {error}; make room and run the same again") from error
    finally:
        shutil.rmtree(made, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)
