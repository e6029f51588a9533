"""The state of a training that was stopped: safetensors and JSON, so that it goes on as if it had not been."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from llmkit.errors import DataError
from llmkit.training.adapters.save import synced

_TENSORS, _STATE = "state.safetensors", "state.json"


class Checkpoint:
    """One folder beside the adapter that is being made, ``NAME.training``; replaced whole with each save."""

    def __init__(self, adapter: Path, identity: str) -> None:
        self.folder = adapter.with_name(f"{adapter.name}.training")
        self._identity = identity

    def step(self) -> int:
        """The step after which a training was stopped here, 0 where none was.

        Raises:
            DataError: what was begun here was another training, or cannot be read.
        """
        found = self._read()
        return int(found[0]["step"]) if found else 0

    def save(self, trained: dict[str, Any], optimizer: Any, state: dict[str, Any]) -> None:
        """Keep the learned tensors, the optimiser's, and where in the data it is.

        Raises:
            DataError: it cannot be written; the one before is kept.
        """
        import torch
        from safetensors.torch import save_file

        tensors = {f"best.{name}": value for name, value in state.pop("best_tensors").items()}
        for name, parameter in trained.items():
            tensors[f"value.{name}"] = parameter.detach().clone()
            for kind, value in optimizer.state.get(parameter, {}).items():
                tensors[f"{kind}.{name}"] = torch.as_tensor(value).detach().clone()
        tensors["random"] = torch.get_rng_state()
        fresh = self.folder / "new"
        try:
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir(parents=True)
            save_file(tensors, fresh / _TENSORS)
            (fresh / _STATE).write_text(json.dumps({"identity": self._identity, **state}), encoding="utf-8")
            for path in (*fresh.iterdir(), fresh):
                synced(path)
            shutil.rmtree(self.folder / "last", ignore_errors=True)
            fresh.rename(self.folder / "last")
        except Exception as error:  # safetensors has an error of its own for a full disk
            shutil.rmtree(fresh, ignore_errors=True)
            raise DataError(f"{self.folder} cannot be written: {error}; make room and run the same again") from error

    def load(self, trained: dict[str, Any], optimizer: Any) -> dict[str, Any] | None:
        """Set everything back to where it stood; None where nothing was begun.

        Raises:
            DataError: what was begun here was another training, or cannot be read.
        """
        import torch

        found = self._read()
        if found is None:
            return None
        state, tensors = found
        with torch.no_grad():
            for name, parameter in trained.items():
                parameter.copy_(tensors[f"value.{name}"])
                kinds = ("step", "exp_avg", "exp_avg_sq")
                if f"step.{name}" in tensors:
                    optimizer.state[parameter] = {kind: tensors[f"{kind}.{name}"].clone() for kind in kinds}
        torch.set_rng_state(tensors["random"])
        state["best_tensors"] = {
            name.removeprefix("best."): value for name, value in tensors.items() if name.startswith("best.")
        }
        return state

    def _read(self) -> tuple[dict[str, Any], dict[str, Any]] | None:
        from safetensors.torch import load_file

        folder = next((self.folder / name for name in ("last", "new") if (self.folder / name / _STATE).is_file()), None)
        if folder is None:
            return None
        try:
            state: dict[str, Any] = json.loads((folder / _STATE).read_text(encoding="utf-8"))
            tensors = load_file(folder / _TENSORS)
        except Exception as error:  # a half-written "new"
            if folder.name == "new":
                return None
            raise DataError(f"{folder} cannot be read: {error}; begin anew with --fresh") from error
        if state.pop("identity") != self._identity:
            raise DataError(
                f"{self.folder} holds another training that was not finished (other data, base or settings): finish "
                "it with its own recipe, or begin anew with --fresh"
            )
        return state, tensors

    def clear(self) -> None:
        """Forget what was begun."""
        shutil.rmtree(self.folder, ignore_errors=True)
