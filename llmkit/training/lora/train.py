"""``llmkit train lora``: from a recipe to an adapter that is known to have an effect."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from llmkit import cpu
from llmkit.errors import DataError, ModelError
from llmkit.models.local.adapter import PROBE_LEAST
from llmkit.training.adapters.base_model import Base, open_base
from llmkit.training.adapters.lora_linear import use_lean_forward
from llmkit.training.adapters.save import write_adapter
from llmkit.training.atomic_write import recover_folder
from llmkit.training.checkpoint import Checkpoint, TrainingState
from llmkit.training.loop import Note, StepReport, peak_mb
from llmkit.training.lora.adapter import add_adapter, effect
from llmkit.training.lora.chat_template import ChatTemplate, Example, limit_length
from llmkit.training.lora.conversations import Conversation
from llmkit.training.lora.dpo import DpoLoss, Pair, make_pair
from llmkit.training.lora.objective import CrossEntropy, LoraObjective, finetune
from llmkit.training.lora.preflight import Preflight, compare_with_serving, consecutive_users, inspect
from llmkit.training.lora.recipe import LoraRecipe
from llmkit.training.loss_plot import loss_plot
from llmkit.version import __version__

_NO_EFFECT = ("name", "out", "data", "dev", "weights_dtype")
"""Settings in which an unfinished training and its continuation may differ; the data is compared by its digest."""


@dataclass(frozen=True)
class Prepared:
    """A recipe with its base opened and its data checked: everything before the first step."""

    recipe: LoraRecipe
    base: Base
    template: ChatTemplate
    train: list[Example]
    dev: list[Example]
    preflight: Preflight
    pairs: tuple[list[Pair], list[Pair]] = field(default_factory=lambda: ([], []))
    """For DPO: pairs to learn, pairs held out."""


@dataclass(frozen=True)
class Trained:
    """A trained adapter."""

    folder: Path
    record: dict[str, Any]
    """The content of ``llmkit.json``."""
    state: TrainingState


def prepare(recipe: LoraRecipe) -> Prepared:
    """Open the base, read the data as tokens, and check both.

    Raises:
        DataError: rows that cannot be used; see :mod:`llmkit.training.lora.preflight`.
        ModelError: the base cannot be opened, or is served with another chat template.
    """
    recover_folder(Path(recipe.out).expanduser())
    train = [one for source in recipe.data for one in source.conversations()]
    dev = [one for source in recipe.dev for one in source.conversations()]
    if not dev:
        train, dev = hold_out(train, recipe.dev_share)
    base = open_base(recipe.base, dtype=_dtype(recipe), quantised=recipe.qlora, threads=recipe.threads)
    template = ChatTemplate(base.tokenizer, frozenset(base.ends), recipe.learn)
    limit = min(recipe.max_tokens, int(getattr(base.model.config, "max_position_embeddings", recipe.max_tokens)))
    examples, over = limit_length([template.example(one) for one in train], limit, recipe.too_long)
    held_out, over_dev = limit_length([template.example(one) for one in dev], limit, recipe.too_long)
    preflight = inspect(base, template, examples, held_out, [*over, *over_dev])
    preflight.notes += consecutive_users([*train, *dev])
    preflight.template_checked = compare_with_serving(base, template, train)
    if recipe.method == "supervised":
        return Prepared(recipe, base, template, examples, held_out, preflight)
    pairs = [[make_pair(template, one) for one in part] for part in (train, dev)]
    long = [one.place for part in pairs for one in part if max(len(one.chosen.ids), len(one.rejected.ids)) > limit]
    if long:
        raise DataError(f"{len(long)} pairs are longer than {limit} tokens, as {long[0]}: raise max_tokens")
    return Prepared(recipe, base, template, examples, held_out, preflight, (pairs[0], pairs[1]))


def train(
    prepared: Prepared,
    *,
    fresh: bool = False,
    note: Note = lambda _: None,
    on_step: Callable[[StepReport], None] = lambda _: None,
) -> Trained:
    """Train the adapter of a recipe and write its folder, or continue a training that was killed.

    Args:
        prepared: the result of :func:`prepare`.
        fresh: discard an unfinished training.
        note: receives what the user should read, a line at a time.
        on_step: receives a report after each step.

    Raises:
        DataError: a loss is not a number, the disk is full, or an unfinished training with other settings is in the
            way.
        ModelError: the trained adapter has no effect.
    """
    recipe, base = prepared.recipe, prepared.base
    out = Path(recipe.out).expanduser()
    data = data_digest(prepared.train, prepared.dev, [one.rejected for part in prepared.pairs for one in part])
    settings = {key: value for key, value in recipe.config().items() if key not in _NO_EFFECT}
    checkpoint = Checkpoint(out, {**settings, "base weights": base.digests, "training data": data})
    if fresh:
        checkpoint.clear()
    model = add_adapter(base.model, recipe)
    lean_layers = use_lean_forward(model)
    state = finetune(_objective(model, prepared), checkpoint, note, on_step)
    change = effect(model, base.tokenizer)
    if change < PROBE_LEAST:
        raise ModelError("the trained adapter has no effect on a fixed prompt: raise `lr` or `epochs`")
    record = _record(prepared, state, data, change)
    preflight = {key: value for key, value in asdict(prepared.preflight).items() if key != "masks"}
    curve = {key: value for key, value in asdict(state).items() if key in ("losses", "dev", "best_step", "tokens")}
    details = {
        "preflight": preflight, "lean_layers": lean_layers, "threads": cpu.threads(), **curve, "seconds": state.seconds
    }  # fmt: skip
    dev = [(row["step"], row["loss"]) for row in state.dev]
    texts = {
        "training.json": json.dumps(details, indent=1) + "\n",
        "loss.svg": loss_plot(state.losses, dev, f"{recipe.name} on {recipe.base}"),
    }
    write_adapter(out, model, record, texts, half=recipe.weights_dtype == "f16")
    checkpoint.clear()
    return Trained(out, record, state)


def hold_out(rows: Sequence[Conversation], share: float) -> tuple[list[Conversation], list[Conversation]]:
    """Rows to learn, and rows held out; rows with the same prompt are on the same side."""

    def is_held_out(row: Conversation) -> bool:
        return int(row.prompt_digest[:8], 16) / 0x1_0000_0000 < share

    return [row for row in rows if not is_held_out(row)], [row for row in rows if is_held_out(row)]


def data_digest(*parts: Sequence[Example]) -> str:
    """SHA-256 of the tokens of examples and of what is learned of them."""
    values = [[[one.ids, one.learned] for one in part] for part in parts]
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()


def _objective(model: Any, prepared: Prepared) -> LoraObjective:
    recipe = prepared.recipe
    if recipe.method == "dpo":
        return LoraObjective(model, *prepared.pairs, recipe, DpoLoss(recipe.beta))
    return LoraObjective(model, prepared.train, prepared.dev, recipe, CrossEntropy())


def _record(prepared: Prepared, state: TrainingState, data: str, change: float) -> dict[str, Any]:
    """The content of ``llmkit.json``."""
    recipe, base = prepared.recipe, prepared.base
    peak = peak_mb()
    return {
        "format": 1,
        "llmkit": __version__,
        "name": recipe.name,
        "base": {"name": recipe.base, "digests": base.digests, "shape": base.shape},
        "template_digest": base.template_digest,
        "data": {"digest": data, "train": len(prepared.train), "dev": len(prepared.dev)},
        "seed": recipe.seed,
        "recipe": recipe.config(),
        "figures": {
            "steps": len(state.losses),
            "best_step": state.best_step,
            "loss": state.losses[-1],
            "dev_loss": min((row["loss"] for row in state.dev), default=None),
            "tokens": state.tokens,
            "seconds": round(state.seconds, 1),
            "tokens_per_second": round(state.tokens / max(state.seconds, 1e-9)),
            "peak_mb": None if peak is None else round(peak),
            "probe": round(change, 4),
        },
    }


def _dtype(recipe: LoraRecipe) -> Any:
    import torch

    if recipe.qlora and not torch.cuda.is_available():
        raise ModelError("qlora needs a CUDA GPU, and there is none here: leave it out; bf16 is what a CPU has")
    return {"auto": None, "bf16": torch.bfloat16, "fp32": torch.float32}[recipe.precision]
