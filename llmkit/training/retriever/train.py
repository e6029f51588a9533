"""From a recipe to a trained retriever: read, check, train, save, and measure what was saved."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmkit import cpu, weights
from llmkit.encoders.dual import DualEncoder
from llmkit.encoders.runtime import tensors
from llmkit.errors import DataError
from llmkit.extras import need
from llmkit.training.data import load, seen_questions
from llmkit.training.data.corpus_index import corpus as corpus_of
from llmkit.training.data.examples import Example, Passage
from llmkit.training.retriever import save
from llmkit.training.retriever.bi_encoder import Tokens, Towers
from llmkit.training.retriever.dev_eval import DevSet
from llmkit.training.retriever.loop import Loop, Tell, Told, peak_mb
from llmkit.training.retriever.recipe import RetrieverRecipe
from llmkit.version import __version__

Note = Callable[[str], None]


@dataclass(frozen=True)
class Trained:
    """What came of it."""

    folder: Path
    record: dict[str, Any]
    """As in ``training.json``."""


def train(recipe: RetrieverRecipe, *, note: Note = lambda _: None, tell: Tell = lambda _: None) -> Trained:
    """Train, or go on where a killed training stopped.

    Args:
        recipe: what to learn from what.
        note: told what the user should know, a line at a time.
        tell: told after every step.

    Raises:
        DataError: nothing to learn from, a dev set that overlaps, a loss that is not a number.
        ModelError: a base that cannot be trained.
        MissingExtra: the extra `train` is not installed.
    """
    torch = need("torch", feature="training a retriever", extra="train")
    need("transformers", feature="training a retriever", extra="train")
    save.may_write(recipe.out)
    base = weights.find(recipe.base)
    train_set, dev_set, data_digest = _data(recipe, note)
    torch.set_num_threads(recipe.threads or cpu.threads())
    device = "cuda" if torch.cuda.is_available() else "cpu"
    towers, tokens = Towers(base, recipe, device), Tokens(base, recipe)
    _tokenised(tokens, train_set, dev_set, note)
    work = recipe.out.with_name(f"{recipe.out.name}.training")
    work.mkdir(parents=True, exist_ok=True)
    digest = _digest(recipe, data_digest, tensors.digest(base))
    loop = Loop(recipe, towers, tokens, train_set, dev_set, work, digest)
    if loop.checkpoint_file.is_file():
        note(f"going on from {loop.checkpoint_file}")
    progress = loop.run(tell)
    save.save(recipe.out, towers, base, recipe)
    seen_questions.write(recipe.out, (*train_set, *dev_set.examples))
    served = served_figures(recipe.out, dev_set, tokens)
    record = {
        "llmkit": __version__,
        "recipe": _plain(recipe),
        "base_sha256": tensors.digest(base),
        "data": {
            "digest": data_digest,
            "train": len(train_set),
            "dev": len(dev_set.examples),
            "corpus": len(dev_set.passages),
            "cut": {side: len(cut) for side, cut in tokens.cut.items()},
        },
        "steps": progress.step,
        "best_step": progress.best_step,
        "dev": progress.dev,
        "served_dev": served,
        "losses": progress.losses,
        "tokens": progress.tokens,
        "seconds": progress.seconds,
        "peak_mb": peak_mb(),
    }
    (recipe.out / "training.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    shutil.rmtree(work)
    if progress.best_step == 0:
        note(f"no evaluation beat the untrained base ({recipe.measure} {progress.best:.3f}): it was saved as it was")
        if progress.best >= 1:
            note("these dev questions leave nothing to win: give harder ones as `dev`, or more passages as `corpus`")
    return Trained(recipe.out, record)


def served_figures(folder: Path, dev: DevSet, tokens: Tokens) -> dict[str, float]:
    """The dev set's figures through the torch-free runtime, with the weights as they were saved."""
    encoder = DualEncoder(model=str(folder))

    def encode(side: str, texts: Sequence[str]) -> Any:
        short = [_cut(tokens, side, text) for text in texts]
        return encoder.encode_queries(short) if side == "query" else encoder.encode_passages(short)

    return dev.figures(encode)


def _cut(tokens: Tokens, side: Any, text: str) -> str:
    """The text as far as training read it."""
    tokens(side, [text])
    if text not in tokens.cut[side]:
        return text
    prefix = tokens.prefix[side]
    offsets = tokens.tokenizer.encode(prefix + text).offsets
    return text[: max(end for _, end in offsets) - len(prefix)]


def _data(recipe: RetrieverRecipe, note: Note) -> tuple[list[Example], DevSet, str]:
    found = load.read(recipe.data.examples(), absent=recipe.absent_answers)
    for line in found.notes():
        note(f"data: {line}")
    if recipe.dev is None:
        train_set, dev = load.held_out(found.examples, recipe.dev_share, recipe.seed)
        note(f"dev: {len(dev)} of {len(found.examples)} questions held out (dev_share {recipe.dev_share})")
    else:
        told = load.read(recipe.dev.examples(), absent=recipe.absent_answers)
        for line in told.notes():
            note(f"dev: {line}")
        train_set, dev = found.examples, told.examples
        load.refuse_overlap(train_set, dev)
    _negatives(recipe, train_set, note)
    corpus = _corpus(recipe)
    if not corpus:
        corpus = list({p.key: p for one in train_set for p in (*one.positives, *one.negatives)}.values())
        note(f"dev questions are searched in the {len(corpus)} passages of the data: give `corpus` for more")
    dev_set = DevSet(dev, corpus)
    note(f"{len(train_set)} questions to learn from, {len(dev)} dev questions over {len(dev_set.passages)} passages")
    digest = hashlib.sha256(
        json.dumps([load.Reading(train_set).digest, load.Reading(dev).digest, dev_set.names]).encode()
    ).hexdigest()
    return train_set, dev_set, digest


def _tokenised(tokens: Tokens, examples: list[Example], dev: DevSet, note: Note) -> None:
    """Tokenise everything once, and tell what is too long before any time is spent on it."""
    tokens("query", [one.query for one in examples] + dev.queries)
    tokens("passage", [p.indexed_text for one in examples for p in (*one.positives, *one.negatives)] + dev.passages)
    for side, cut in tokens.cut.items():
        if cut:
            note(f"{len(cut)} {side} texts are longer than {tokens.max_tokens} tokens and are cut there")


def _negatives(recipe: RetrieverRecipe, examples: list[Example], note: Note) -> None:
    """Tell what the recipe asks for and the data does not have.

    Raises:
        DataError: a recipe that distils, and no scores.
    """
    few = sum(len(one.negatives) < recipe.hard_negatives for one in examples)
    if few:
        note(f"{few} of {len(examples)} questions have not {recipe.hard_negatives} hard negatives: llmkit train mine")
    if recipe.distil == "none":
        return
    scored = sum(bool(one.scores) and len(one.negatives) >= recipe.hard_negatives for one in examples)
    if not scored:
        raise DataError("distil, but no example has a teacher's scores: mine with llmkit train mine --reranker SPEC")
    if scored < len(examples):
        note(f"{len(examples) - scored} of {len(examples)} questions have no teacher's scores: the ranking loss alone")


def _corpus(recipe: RetrieverRecipe) -> list[Passage]:
    if recipe.corpus is not None:
        return corpus_of(recipe.corpus)
    return load.passages((recipe.dev or recipe.data).documents())


def _plain(recipe: RetrieverRecipe) -> dict[str, Any]:
    values = recipe.model_dump(mode="json", exclude={"data", "dev"})
    parts = {name: getattr(recipe, name) for name in ("data", "dev")}
    return values | {name: None if part is None else part.config() for name, part in parts.items()}


def _digest(recipe: RetrieverRecipe, data: str, base: str) -> str:
    """What a checkpoint must agree in; where things lie and how often they are saved does not matter."""
    values = _plain(recipe)
    for name in ("out", "data", "dev", "corpus", "checkpoint_every", "threads", "weights", "weights_dtype", "name"):
        del values[name]
    return hashlib.sha256(json.dumps([values, data, base], sort_keys=True).encode()).hexdigest()


__all__ = ["Told", "Trained", "train"]
