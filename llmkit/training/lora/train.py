"""``llmkit train lora``: from a recipe to an adapter that is known to work."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from llmkit import cpu
from llmkit.errors import DataError, ModelError, unknown
from llmkit.models.local.adapter import PROBE, PROBE_LEAST
from llmkit.training.adapters.base_model import Base, open_base
from llmkit.training.adapters.save import recover, write_adapter
from llmkit.training.lora.chat_template import Example, Renderer, shortened
from llmkit.training.lora.checkpoint import Checkpoint
from llmkit.training.lora.datasets import Conversation
from llmkit.training.lora.dpo import Pair, Preferences, pair
from llmkit.training.lora.loop import Answers, Curve, Objective, Progress, finetune
from llmkit.training.lora.lora_linear import lean
from llmkit.training.lora.preflight import Preflight, inspect, same_as_served
from llmkit.training.lora.recipe import LoraRecipe
from llmkit.training.loss_plot import loss_plot
from llmkit.version import __version__

Note = Callable[[str], None]
_APART = ("name", "out", "data", "dev", "weights_dtype")  # what a training that goes on may differ in


@dataclass(frozen=True)
class Prepared:
    """A recipe with its base opened and its data looked at: all that comes before the first step."""

    recipe: LoraRecipe
    base: Base
    renderer: Renderer
    train: list[Example]
    dev: list[Example]
    preflight: Preflight
    pairs: tuple[list[Pair], list[Pair]] = field(default_factory=lambda: ([], []))
    """Of dpo: to learn, held out."""


@dataclass(frozen=True)
class Trained:
    """What came out."""

    folder: Path
    record: dict[str, Any]
    curve: Curve


def prepare(recipe: LoraRecipe) -> Prepared:
    """Open the base, read and render the data, and look for what is known to go wrong.

    Raises:
        DataError: rows that cannot be used; see :mod:`llmkit.training.lora.preflight`.
        ModelError: the base cannot be opened, or is served with another chat template.
    """
    recover(Path(recipe.out).expanduser())
    train = [one for source in recipe.data for one in source.conversations()]
    dev = [one for source in recipe.dev for one in source.conversations()]
    if not dev:
        train, dev = held_out(train, recipe.dev_share)
    base = open_base(recipe.base, dtype=_dtype(recipe), quantised=recipe.qlora, threads=recipe.threads)
    renderer = Renderer(base.tokenizer, frozenset(base.ends), recipe.learn)
    limit = min(recipe.max_tokens, int(getattr(base.model.config, "max_position_embeddings", recipe.max_tokens)))
    examples, over = shortened([renderer.example(one) for one in train], limit, recipe.too_long)
    held, over_dev = shortened([renderer.example(one) for one in dev], limit, recipe.too_long)
    found = inspect(base, renderer, examples, held, over + over_dev)
    found.template_checked = same_as_served(base, renderer, train)
    if recipe.method == "supervised":
        return Prepared(recipe, base, renderer, examples, held, found)
    pairs = [[pair(renderer, one) for one in part] for part in (train, dev)]
    long = [one.place for part in pairs for one in part if max(len(one.chosen.ids), len(one.rejected.ids)) > limit]
    if long:
        raise DataError(f"{len(long)} pairs are longer than {limit} tokens, as {long[0]}: raise max_tokens")
    return Prepared(recipe, base, renderer, examples, held, found, (pairs[0], pairs[1]))


def train(
    prepared: Prepared, *, fresh: bool = False, note: Note = lambda _: None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Trained:  # fmt: skip
    """Train the adapter of a recipe and write its folder. A training that was killed goes on where it was.

    Args:
        prepared: what :func:`prepare` made.
        fresh: forget a training that was not finished.
        note: told in words what happens.
        on_progress: called after each step.

    Raises:
        ModelError: the loss is not a number, or the adapter changes nothing.
        DataError: the disk is full, or an unfinished training with other settings is in the way.
    """
    recipe, base = prepared.recipe, prepared.base
    out = Path(recipe.out).expanduser()
    rejected = [one.rejected for part in prepared.pairs for one in part]
    data = digest_of(prepared.train, prepared.dev, rejected)
    settings = {key: value for key, value in recipe.config().items() if key not in _APART}
    checkpoint = Checkpoint(out, _digest([settings, base.digests, data]))
    if fresh:
        checkpoint.clear()
    elif step := checkpoint.step():
        note(f"going on after step {step} of the training that was stopped, from {checkpoint.folder}")
    model = adapted(base.model, recipe)
    fast = lean(model)
    rows, held, objective = _task(prepared)
    curve = finetune(model, rows, held, recipe, objective, checkpoint, on_progress)
    change = probe(model, prepared.renderer)
    if change < PROBE_LEAST:
        raise ModelError("the adapter that was trained changes nothing: raise `lr` or `epochs`")
    record = {
        "format": 1,
        "llmkit": __version__,
        "name": recipe.name,
        "base": {"name": recipe.base, "digests": base.digests, "shape": base.shape},
        "template_digest": base.template_digest,
        "data": {"digest": data, "train": len(prepared.train), "dev": len(prepared.dev)},
        "seed": recipe.seed,
        "recipe": recipe.config(),
        "figures": {
            "steps": len(curve.losses),
            "best_step": curve.best_step,
            "loss": curve.losses[-1],
            "dev_loss": min((value for _, value in curve.dev), default=None),
            "tokens": curve.tokens,
            "seconds": round(curve.seconds, 1),
            "tokens_per_second": round(curve.tokens / max(curve.seconds, 1e-9)),
            "peak_mb": round(peak) if (peak := peak_mb()) is not None else None,
            "probe": round(change, 4),
        },
    }
    seen = {key: value for key, value in asdict(prepared.preflight).items() if key != "masks"}
    told = {"preflight": seen, "lean_layers": fast, "threads": cpu.threads(), **asdict(curve)}
    plot = loss_plot(curve.losses, curve.dev, f"{recipe.name} on {recipe.base}")
    more = {"training.json": json.dumps(told, indent=1) + "\n", "loss.svg": plot}
    write_adapter(out, model, record, more, half=recipe.weights_dtype == "f16")
    checkpoint.clear()
    return Trained(out, record, curve)


def _task(prepared: Prepared) -> tuple[Sequence[Any], Sequence[Any], Objective]:
    """What is learned from, what is held out, and what is made small."""
    if prepared.recipe.method == "dpo":
        return *prepared.pairs, Preferences(prepared.recipe.beta)
    return prepared.train, prepared.dev, Answers()


def adapted(model: Any, recipe: LoraRecipe) -> Any:
    """The model with a fresh adapter: A small and random, B zero, so that nothing is changed yet.

    Raises:
        ModelError: a target that no layer's name ends in.
    """
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(recipe.seed)
    config = LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        target_modules="all-linear" if recipe.targets == ("all-linear",) else list(recipe.targets),
        lora_dropout=recipe.dropout,
        use_rslora=recipe.rslora,
        use_dora=recipe.dora,
        task_type="CAUSAL_LM",
    )
    if recipe.targets != ("all-linear",):
        _all_there(model, recipe.targets)
    try:
        return get_peft_model(model, config, autocast_adapter_dtype=True)
    except ValueError as error:
        raise ModelError(f"targets {list(recipe.targets)}: {error}") from error


def _all_there(model: Any, targets: Sequence[str]) -> None:
    """Each target ends the name of a layer; peft is content where one of them does, and adapts the others not."""
    from torch.nn import Linear

    layers = [name for name, _ in model.named_modules()]
    nowhere = [one for one in targets if not any(f".{name}".endswith(f".{one}") for name in layers)]
    if nowhere:
        known = sorted({name.rpartition(".")[2] for name, layer in model.named_modules() if isinstance(layer, Linear)})
        raise ModelError("targets: " + "; ".join(unknown("layer", one, known) for one in nowhere))


def held_out(rows: Sequence[Conversation], share: float) -> tuple[list[Conversation], list[Conversation]]:
    """Rows to learn and rows held out, by their prompt: the same prompt is always on the same side."""

    def is_held(row: Conversation) -> bool:
        return int(row.prompt_digest[:8], 16) / 0x1_0000_0000 < share

    return [row for row in rows if not is_held(row)], [row for row in rows if is_held(row)]


def probe(model: Any, renderer: Renderer) -> float:
    """Largest difference, in log probability of a first token, that the adapter makes to a fixed prompt."""
    import torch

    text = renderer.tokenizer.apply_chat_template(
        [{"role": role, "content": said} for role, said in PROBE], tokenize=False, add_generation_prompt=True
    )
    ids = torch.tensor([renderer.tokens(text)], device=model.device)
    with torch.inference_mode():
        told = torch.log_softmax(model(input_ids=ids).logits[0, -1].float(), -1)
        with model.disable_adapter():
            bare = torch.log_softmax(model(input_ids=ids).logits[0, -1].float(), -1)
    return float((told - bare).abs().max())


def digest_of(*parts: Sequence[Example]) -> str:
    """SHA-256 of examples as the model reads and learns them."""
    return _digest([[[one.ids, one.learned] for one in part] for part in parts])


def peak_mb() -> float | None:
    """Most memory this process has held so far, in MB; None where the system does not say (Windows)."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak / 1e3


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def _dtype(recipe: LoraRecipe) -> Any:
    import torch

    if recipe.qlora and not torch.cuda.is_available():
        raise ModelError("qlora needs a CUDA GPU, and there is none here: leave it out; bf16 is what a CPU has")
    return {"auto": None, "bf16": torch.bfloat16, "fp32": torch.float32}[recipe.precision]
