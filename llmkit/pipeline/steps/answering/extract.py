"""Answers with the best supporting sentence itself: no model that writes, nothing that could be invented."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from llmkit.grounding import Support
from llmkit.part import Part
from llmkit.pipeline.steps.answering.ground import cite
from llmkit.pipeline.steps.answering.prompt_passages import NOT_FOUND
from llmkit.protocols import Context, Encoder
from llmkit.retrieval.dense_and_bm25 import encoded
from llmkit.text.sentences import sentences
from llmkit.text.words import words
from llmkit.types import Answer, Event, Hit, State

_LONG = 400  # characters
_HEADING = re.compile(r"#{1,6}\s[^\n]*")


@dataclass(frozen=True, slots=True)
class _Candidate:
    n: int
    hit: Hit
    start: int
    end: int

    @property
    def text(self) -> str:
        return self.hit.chunk.text[self.start : self.end]


class Extract(Part):
    """Ranks the sentences of the best passages and quotes the winner with its citation.

    A sentence's score is the cosine of its encoding (title and headings before it) with the question's, averaged with
    its passage's own cosine, plus ``words_weight`` times the share of the question's content words it holds, the rare
    ones among the candidates weighing more. Weight and threshold were chosen on NQ train and XQuAD;
    ``llmkit eval docs-qa --task nq-dev`` measures them on others.
    """

    family: ClassVar[str] = "step"
    type: ClassVar[str] = "extract"
    needs: ClassVar[frozenset[str]] = frozenset({"question", "hits"})
    gives: ClassVar[frozenset[str]] = frozenset({"answer"})

    passages: int = Field(default=5, ge=1)
    """How many of the hits are read."""
    sentences: int = Field(default=1, ge=1, le=10)
    """How many sentences the answer has, at most."""
    threshold: float = Field(default=0.55, ge=0, le=3)
    """Least score of an answer; below it the documents do not hold one."""
    words_weight: float = Field(default=0.25, ge=0)
    """Weight of shared words beside the cosine."""

    def run(self, state: State, ctx: Context) -> State:
        """Fill ``state.answer`` and keep in ``state.hits`` the passages that were read."""
        hits = state.hits[: self.passages]
        spans = [
            _Candidate(n, hit, start, end) for n, hit in enumerate(hits, 1) for start, end in _quotable(hit.chunk.text)
        ]
        found = [one for one in spans if not _HEADING.fullmatch(one.text)] or spans  # a heading answers nothing
        if not found:
            ctx.note("no passages were found")
            return state.replace(answer=Answer(NOT_FOUND, abstained=True))
        scores = self._scores(state.question, hits, found, ctx)
        order = np.argsort(-scores, kind="stable")
        best = float(scores[order[0]])
        ctx.record(confidence=best, threshold=self.threshold, candidates=len(found))
        if best < self.threshold:
            ctx.note(f"the best sentence scores {best:.2f}, below the threshold of {self.threshold:.2f}")
            return state.replace(hits=hits, answer=Answer(NOT_FOUND, abstained=True))
        chosen = [found[i] for i in order[: self.sentences] if scores[i] >= self.threshold]
        text = " ".join(f"{one_line(item.text)} [{item.n}]" for item in chosen)
        ctx.emit(Event("token", text=text))
        exact = [cite(c.n, c.hit, Support(c.start, c.end, 1.0, "exact quote", supported=True)) for c in chosen]
        return state.replace(hits=hits, answer=Answer(text, tuple(exact)))

    def _scores(
        self, question: str, hits: Sequence[Hit], found: Sequence[_Candidate], ctx: Context
    ) -> NDArray[np.float64]:
        kb = ctx.knowledge
        query = encoded(kb, [question])[0]
        near = kb.encoder.encode_passages([_in_context(item, kb.encoder) for item in found]) @ query
        rows = [hit.chunk.row for hit in hits]
        around = kb.vectors(rows) @ query
        passage = np.array([around[item.n - 1] for item in found])
        shared = _shared(question, [item.text for item in found])
        scores: NDArray[np.float64] = (near + passage) / 2 + self.words_weight * shared
        return scores


def _in_context(item: _Candidate, encoder: Encoder) -> str:
    """The sentence after its title and headings, as its passage was encoded, where that is not too long."""
    context = item.hit.chunk.context
    placed = f"{context}\n{item.text}" if context else item.text
    fits = len(encoder.token_starts(placed)) + encoder.special_tokens <= encoder.max_tokens
    return placed if fits else item.text


def _quotable(text: str) -> Iterator[tuple[int, int]]:
    """Spans of sentences; what has no full stop for long, as forms and tables in a PDF, goes line by line."""
    for start, end in sentences(text):
        if end - start <= _LONG:
            yield start, end
        else:
            for line in re.finditer(r"\S[^\n]*", text[start:end]):
                yield start + line.start(), start + line.end()


def one_line(text: str) -> str:
    """The text with every run of white space as one space."""
    return " ".join(text.split())


def _shared(question: str, texts: Sequence[str]) -> NDArray[np.float64]:
    """Share of the question's content words in each text, in [0, 1], rare words weighing more."""
    asked = {word.stem for word in words(question) if word.content}
    held = [{word.stem for word in words(text)} & asked for text in texts]
    counts = Counter(stem for stems in held for stem in stems)
    weight = {stem: math.log1p(len(texts) / (1 + counts[stem])) for stem in asked}
    total = math.fsum(weight.values()) or 1.0
    return np.array([math.fsum(weight[stem] for stem in stems) / total for stems in held])  # exact in any order
