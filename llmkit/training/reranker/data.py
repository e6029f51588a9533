"""From a reranker's recipe to what it learns from: examples read, a corpus searched, dev and test kept apart."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmkit.encoders.local import LocalEncoder
from llmkit.knowledge.knowledge_base import KnowledgeBase
from llmkit.training.data.examples import Example
from llmkit.training.data.load import held_out, read, refuse_overlap
from llmkit.training.data.rerank_candidates import Candidates, Group, candidates_of_examples, retrieve_candidates
from llmkit.training.reranker.recipe import RerankerRecipe
from llmkit.types import Document


@dataclass
class RerankerData:
    """Groups of the three parts, and what the user should know about them."""

    train: list[Group]
    dev: list[Group]
    test: list[Group]
    notes: list[str] = field(default_factory=list)


def prepare(recipe: RerankerRecipe, tell: Callable[[str], None] = lambda _: None) -> RerankerData:
    """Read and search.

    Raises:
        DataError: nothing to learn from, or questions of one part that stand in another; names the rows.
    """
    reading = read(recipe.data.examples(), absent=recipe.absent_answers)
    notes = reading.notes()
    if recipe.dev is None:
        train, dev = held_out(reading.examples, recipe.dev_share, recipe.seed)
    else:
        other = read(recipe.dev.examples(), absent="tell")
        notes += [f"dev: {note}" for note in other.notes()]
        train, dev = reading.examples, other.examples
    refuse_overlap(train, dev)
    made = RerankerData([], [], [], notes)
    own = [("train", train, recipe.data), ("dev", dev, recipe.dev or recipe.data)]
    if recipe.test is not None:
        test = read(recipe.test.examples(), absent="tell")
        notes += [f"test: {note}" for note in test.notes()]
        refuse_overlap(train, test.examples, ("train", "test"))
        refuse_overlap(dev, test.examples, ("dev", "test"))
        own.append(("test", test.examples, recipe.test))
    for part, examples, source in own:
        found = _candidates(recipe, examples, source, learn=part == "train", tell=tell)
        setattr(made, part, found.groups)
        notes += [f"{part}: {count} {reason}" for reason, count in found.left.items()]
    return made


def corpus_folder(recipe: RerankerRecipe) -> Path:
    """Where corpora that were searched are kept until the training is done."""
    out = recipe.out.expanduser()
    return out.with_name(f"{out.name}.corpora")


def _candidates(
    recipe: RerankerRecipe, examples: list[Example], source: Any, *, learn: bool, tell: Callable[[str], None]
) -> Candidates:
    documents = [item for item in source.documents() if isinstance(item, Document)]
    if not documents:
        return candidates_of_examples(examples, recipe.depth)
    with _knowledge(recipe, documents, tell) as kb:
        return retrieve_candidates(examples, kb, recipe.depth, screen=learn)


def _knowledge(recipe: RerankerRecipe, documents: list[Document], tell: Callable[[str], None]) -> KnowledgeBase:
    content = hashlib.sha256("\0".join(_lines(documents)).encode()).hexdigest()[:16]
    path, done = corpus_folder(recipe) / content, corpus_folder(recipe) / f"{content}.complete"
    if done.exists():
        return KnowledgeBase.open(path)
    shutil.rmtree(path, ignore_errors=True)
    tell(f"indexing {len(documents)} documents to search them for wrong passages")
    kb = KnowledgeBase.create(path, encoder=LocalEncoder())
    kb.add(documents, source="corpus")
    done.touch()
    return kb


def _lines(documents: list[Document]) -> Iterator[str]:
    for document in documents:
        yield f"{document.id} {document.version}"
