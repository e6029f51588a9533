"""The folder of a LoRA adapter: peft's two files, and ``llmkit.json``, which says what base it belongs to.

::

    adapter_config.json         peft's: rank, alpha, target modules
    adapter_model.safetensors   the matrices A and B
    llmkit.json                 digests of the base, of its chat template and of the data; figures of the training

An adapter on another base answers fluently and wrongly, so it is refused. A base is known by the SHA-256 of its
weights; a GGUF file and the safetensors it was dequantised to are the same base.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from llmkit.errors import ModelError

WEIGHTS, CONFIG, RECORD = "adapter_model.safetensors", "adapter_config.json", "llmkit.json"
SHIPPED = Path(__file__).with_name("adapters")
"""Adapters that come with llmkit, a folder each; `local:NAME` is their base with them."""
PROBE = (("user", "Which of the passages holds the answer, and what is it?"),)
"""What an adapter is probed with after loading: some probability must differ from the bare base's."""
PROBE_LEAST = 1e-4
"""Least difference of a log probability that counts as one."""


@dataclass(frozen=True)
class Adapter:
    """An adapter on disk, read and checked."""

    folder: Path
    config: dict[str, Any] = field(repr=False)
    record: dict[str, Any] = field(repr=False)
    digest: str
    """SHA-256 of weights and configuration."""

    @property
    def rank(self) -> int:
        """Inner size of A and B."""
        return int(self.config["r"])

    @property
    def size(self) -> int:
        """Bytes of its weights."""
        return (self.folder / WEIGHTS).stat().st_size

    @property
    def scale(self) -> float:
        """What BA is multiplied by: alpha over the rank, or over its root for rsLoRA (Kalajdzievski 2023)."""
        alpha, rank = float(self.config["lora_alpha"]), self.rank
        return float(alpha / rank**0.5) if self.config.get("use_rslora") else alpha / rank

    def check_base(self, path: Path) -> None:
        """Refuse a base the adapter was not trained on.

        Raises:
            ModelError: names both digests.
        """
        found, known = weights_digest(path), self.record["base"]["digests"]
        if found not in known:
            raise ModelError(
                f"the adapter {self.folder} was trained on {self.record['base']['name']} "
                f"({', '.join(one[:12] for one in known)}…); {path} has other weights ({found[:12]}…): "
                "use the base it was trained on, or train it on this one"
            )


def names() -> list[str]:
    """Adapters that come with llmkit."""
    return sorted(path.parent.name for path in SHIPPED.glob(f"*/{RECORD}"))


def shipped(name: str) -> str | None:
    """The base of an adapter that comes with llmkit, or None where there is none of that name."""
    record = SHIPPED / name / RECORD
    return str(_json(record)["base"]["name"]) if Path(name).name == name and record.is_file() else None


def read_adapter(folder: str | Path) -> Adapter:
    """The adapter in a folder, or the one of that name that comes with llmkit.

    Raises:
        ModelError: not an adapter, or not one of ours.
    """
    path = Path(folder).expanduser()
    if not path.is_dir() and shipped(str(folder)):
        path = SHIPPED / str(folder)
    if not path.is_dir():
        raise ModelError(f"no adapter at {path}: expected the folder that `llmkit train lora` wrote")
    for name in (CONFIG, WEIGHTS):
        if not (path / name).is_file():
            raise ModelError(f"{path} is no LoRA adapter: it has no {name}")
    if not (path / RECORD).is_file():
        raise ModelError(
            f"{path} has no {RECORD}, which says which base the adapter belongs to: it was not made by "
            "`llmkit train lora`, and whether it fits a base cannot be known"
        )
    config, record = _json(path / CONFIG), _json(path / RECORD)
    kind = config.get("peft_type")
    if kind != "LORA":
        raise ModelError(f"{path / CONFIG} is of the kind {kind!r}: only LoRA adapters are loaded")
    base = record.get("base")
    if not isinstance(base, dict) or not isinstance(base.get("digests"), list):
        raise ModelError(f"{path / RECORD} names no digests of a base: the file is damaged")
    with (path / WEIGHTS).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    digest.update((path / CONFIG).read_bytes())
    return Adapter(path, config, record, digest.hexdigest())


def weights_digest(path: Path) -> str:
    """SHA-256 of a model's weights: of the GGUF file, or of a folder's safetensors files in the order of their names.

    Raises:
        ModelError: a folder without safetensors.
    """
    files = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
    files = [file for file in files if file.name != WEIGHTS]
    if not files:
        raise ModelError(f"{path} holds no safetensors files: no weights to know the model by")
    stats = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return _digest(tuple(stats))


@lru_cache(maxsize=64)
def _digest(files: tuple[tuple[str, int, int], ...]) -> str:
    """Of one file its own SHA-256; of several the SHA-256 of theirs. Size and time are there to notice a change."""
    digests = []
    for name, _, _ in files:
        with Path(name).open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise ModelError(f"{path}: expected a JSON object")
    return value
