"""From a retriever's recipe to its data: examples read, dev questions held out, the corpus they are searched in."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from llmkit.errors import DataError
from llmkit.training.data import load
from llmkit.training.data.corpus_index import read_corpus
from llmkit.training.data.examples import Example, Passage
from llmkit.training.loop import Note
from llmkit.training.retriever.bi_encoder import SideTokenizer
from llmkit.training.retriever.dev_eval import DevSet
from llmkit.training.retriever.recipe import RetrieverRecipe


@dataclass(frozen=True)
class RetrieverData:
    """What a retriever learns from and what it is judged by."""

    train: list[Example]
    dev: DevSet
    digest: str
    """SHA-256 of the examples, the dev questions and the corpus."""


def prepare(recipe: RetrieverRecipe, note: Note) -> RetrieverData:
    """Read the data of a recipe.

    Raises:
        DataError: nothing can be learned from the data, or dev questions are in the training data.
    """
    reading = load.read(recipe.data.examples(), absent=recipe.absent_answers)
    for line in reading.notes():
        note(f"data: {line}")
    if recipe.dev is None:
        train, dev = load.held_out(reading.examples, recipe.dev_share, recipe.seed)
        note(f"dev: {len(dev)} of {len(reading.examples)} questions held out (dev_share {recipe.dev_share})")
    else:
        dev_reading = load.read(recipe.dev.examples(), absent=recipe.absent_answers)
        for line in dev_reading.notes():
            note(f"dev: {line}")
        train, dev = reading.examples, dev_reading.examples
        load.refuse_overlap(train, dev)
    _check_negatives(recipe, train, note)
    corpus = _corpus(recipe)
    if not corpus:
        corpus = list({p.key: p for one in train for p in (*one.positives, *one.negatives)}.values())
        note(f"dev questions are searched in the {len(corpus)} passages of the data: give `corpus` for more")
    dev_set = DevSet(dev, corpus)
    note(f"{len(train)} questions to learn from, {len(dev)} dev questions over {len(dev_set.passages)} passages")
    parts = [load.Reading(train).digest, load.Reading(dev).digest, dev_set.names]
    return RetrieverData(train, dev_set, hashlib.sha256(json.dumps(parts).encode()).hexdigest())


def tokenize_all(tokenizer: SideTokenizer, data: RetrieverData, note: Note) -> None:
    """Tokenize every text once, and report the texts that are too long before any time is spent on training."""
    passages = [p.indexed_text for one in data.train for p in (*one.positives, *one.negatives)]
    tokenizer("query", [one.query for one in data.train] + data.dev.queries)
    tokenizer("passage", passages + data.dev.passages)
    for side, cut in tokenizer.cut.items():
        if cut:
            note(f"{len(cut)} {side} texts are longer than {tokenizer.max_tokens} tokens and are cut there")


def _check_negatives(recipe: RetrieverRecipe, examples: list[Example], note: Note) -> None:
    """Report what the recipe asks for and the data does not have.

    Raises:
        DataError: the recipe distils a teacher's scores, and the data has none.
    """
    few = sum(len(one.negatives) < recipe.hard_negatives for one in examples)
    if few:
        note(
            f"{few} of {len(examples)} questions have fewer than {recipe.hard_negatives} hard negatives: "
            "`llmkit train mine` finds some"
        )
    if recipe.distil == "none":
        return
    scored = sum(bool(one.scores) and len(one.negatives) >= recipe.hard_negatives for one in examples)
    if not scored:
        raise DataError(
            "distil: no example has the scores of a teacher; `llmkit train mine --reranker SPEC` writes some that do"
        )
    if scored < len(examples):
        note(
            f"{len(examples) - scored} of {len(examples)} questions have no scores of a teacher: they are learned with "
            "the ranking loss alone"
        )


def _corpus(recipe: RetrieverRecipe) -> list[Passage]:
    if recipe.corpus is not None:
        return read_corpus(recipe.corpus)
    return load.passages((recipe.dev or recipe.data).documents())
