"""From a recipe to a trained retriever: read the data, train, save, and measure the saved folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmkit import cpu, weights
from llmkit.encoders.dual import DualEncoder
from llmkit.encoders.runtime import tensors
from llmkit.extras import need
from llmkit.training import recipes
from llmkit.training.checkpoint import Checkpoint
from llmkit.training.data import seen_questions
from llmkit.training.loop import Note, StepReport, TrainingLoop, peak_mb
from llmkit.training.loss_plot import loss_plot
from llmkit.training.retriever import data as retriever_data
from llmkit.training.retriever import save
from llmkit.training.retriever.bi_encoder import BiEncoder, Side, SideTokenizer
from llmkit.training.retriever.dev_eval import DevSet
from llmkit.training.retriever.objective import RetrieverObjective
from llmkit.training.retriever.recipe import RetrieverRecipe
from llmkit.version import __version__

_NO_EFFECT = ("out", "data", "dev", "corpus", "checkpoint_every", "threads", "weights", "weights_dtype", "name")
"""Settings in which an unfinished training and its continuation may differ; the data is compared by its digest."""


@dataclass(frozen=True)
class Trained:
    """A trained retriever."""

    folder: Path
    record: dict[str, Any]
    """The content of ``training.json``."""


def train(
    recipe: RetrieverRecipe,
    *,
    fresh: bool = False,
    note: Note = lambda _: None,
    on_step: Callable[[StepReport], None] = lambda _: None,
) -> Trained:
    """Train a retriever, or continue a training that was killed.

    Args:
        recipe: what to learn, and how.
        fresh: discard an unfinished training.
        note: receives what the user should read, a line at a time.
        on_step: receives a report after each step.

    Raises:
        DataError: nothing can be learned from the data, the dev set overlaps with it, a loss is not a number, or an
            unfinished training with other settings is in the way.
        ModelError: the base cannot be trained.
        MissingExtra: the extra `train` is not installed.
    """
    torch = need("torch", feature="training a retriever", extra="train")
    need("transformers", feature="training a retriever", extra="train")
    save.check_target(recipe.out)
    base = weights.find(recipe.base)
    base_digest = tensors.digest(base)
    data = retriever_data.prepare(recipe, note)
    torch.set_num_threads(recipe.threads or cpu.threads())
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model, tokenizer = BiEncoder(base, recipe, device), SideTokenizer(base, recipe)
    retriever_data.tokenize_all(tokenizer, data, note)
    objective = RetrieverObjective(recipe, model, tokenizer, data.train, data.dev)
    settings = {name: value for name, value in recipes.plain(recipe).items() if name not in _NO_EFFECT}
    checkpoint = Checkpoint(recipe.out, {**settings, "base weights": base_digest, "training data": data.digest})
    if fresh:
        checkpoint.clear()
    state = TrainingLoop(objective, objective.settings(), checkpoint, note, on_step).run()
    save.save(recipe.out, model, base, recipe)
    seen_questions.write(recipe.out, (*data.train, *data.dev.examples))
    record = {
        "llmkit": __version__,
        "recipe": recipes.plain(recipe),
        "base_sha256": base_digest,
        "data": {
            "digest": data.digest,
            "train": len(data.train),
            "dev": len(data.dev.examples),
            "corpus": len(data.dev.passages),
            "cut": {side: len(cut) for side, cut in tokenizer.cut.items()},
        },
        "steps": state.step,
        "best_step": state.best_step,
        "dev": state.dev,
        "served_dev": served_figures(recipe.out, data.dev, tokenizer),
        "losses": state.losses,
        "tokens": state.tokens,
        "seconds": state.seconds,
        "peak_mb": peak_mb(),
    }
    (recipe.out / "training.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    curve = [(row["step"], row[recipe.measure]) for row in state.dev]
    plot = loss_plot(state.losses, curve, f"{recipe.name} on {recipe.base}", recipe.measure)
    (recipe.out / "loss.svg").write_text(plot, encoding="utf-8")
    checkpoint.clear()
    if state.best_step == 0:
        note(
            f"no evaluation was better than the untrained base ({recipe.measure} {state.best:.3f}): the folder holds "
            "the base, unchanged"
        )
        if state.best >= 1:
            note("the base answers every dev question: give harder ones as `dev`, or more passages as `corpus`")
    return Trained(recipe.out, record)


def served_figures(folder: Path, dev: DevSet, tokenizer: SideTokenizer) -> dict[str, float]:
    """The figures of the dev set through the torch-free runtime, with the weights as they were saved."""
    encoder = DualEncoder(model=str(folder))

    def encode(side: Side, texts: Sequence[str]) -> Any:
        short = [_cut(tokenizer, side, text) for text in texts]
        return encoder.encode_queries(short) if side == "query" else encoder.encode_passages(short)

    return dev.figures(encode)


def _cut(tokenizer: SideTokenizer, side: Side, text: str) -> str:
    """The part of the text that training reads."""
    tokenizer(side, [text])
    if text not in tokenizer.cut[side]:
        return text
    prefix = tokenizer.prefix[side]
    offsets = tokenizer.tokenizer.encode(prefix + text).offsets
    return text[: max(end for _, end in offsets) - len(prefix)]
