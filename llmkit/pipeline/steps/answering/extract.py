"""Step ``extract``: answers with the best supporting sentence itself, so that nothing can be invented."""

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

_MAX_SENTENCE = 400  # characters; a longer run is taken line by line
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
    """Scores the sentences of the best passages and quotes the best one with its citation.

    The score of a sentence is the mean of two cosines, plus a term for shared words. The first cosine compares the
    question with the sentence (encoded after its title and headings), the second compares it with the whole passage.
    The term for shared words is ``words_weight`` times the share of the question's content words that the sentence
    contains; words that few candidates contain weigh more. Weight and threshold were chosen on NQ train and XQuAD;
    ``llmkit eval docs-qa --task nq-dev`` measures them on questions that were not used for the choice.
    """

    family: ClassVar[str] = "step"
    type: ClassVar[str] = "extract"
    needs: ClassVar[frozenset[str]] = frozenset({"question", "hits"})
    gives: ClassVar[frozenset[str]] = frozenset({"answer"})

    passages: int = Field(default=5, ge=1)
    """How many of the hits are considered."""
    sentences: int = Field(default=1, ge=1, le=10)
    """How many sentences the answer has, at most."""
    threshold: float = Field(default=0.55, ge=0, le=3)
    """Lowest score of an answer. Below it, the step abstains."""
    words_weight: float = Field(default=0.25, ge=0)
    """Weight of the shared words in the score."""

    def run(self, state: State, ctx: Context) -> State:
        """Fill ``state.answer`` and keep the passages that were considered in ``state.hits``."""
        hits = state.hits[: self.passages]
        spans = [
            _Candidate(n, hit, start, end) for n, hit in enumerate(hits, 1) for start, end in _quotable(hit.chunk.text)
        ]
        candidates = [span for span in spans if not _HEADING.fullmatch(span.text)] or spans  # a heading answers nothing
        if not candidates:
            ctx.note("no passages were found")
            return state.replace(answer=Answer(NOT_FOUND, abstained=True))
        scores = self._scores(state.question, hits, candidates, ctx)
        order = np.argsort(-scores, kind="stable")
        best = float(scores[order[0]])
        ctx.record(confidence=best, threshold=self.threshold, candidates=len(candidates))
        if best < self.threshold:
            ctx.note(f"the best sentence scores {best:.2f}, below the threshold of {self.threshold:.2f}")
            return state.replace(hits=hits, answer=Answer(NOT_FOUND, abstained=True))
        chosen = [candidates[i] for i in order[: self.sentences] if scores[i] >= self.threshold]
        text = " ".join(f"{one_line(item.text)} [{item.n}]" for item in chosen)
        ctx.emit(Event("token", text=text))
        citations = [cite(c.n, c.hit, Support(c.start, c.end, 1.0, "exact quote", supported=True)) for c in chosen]
        return state.replace(hits=hits, answer=Answer(text, tuple(citations)))

    def _scores(
        self, question: str, hits: Sequence[Hit], candidates: Sequence[_Candidate], ctx: Context
    ) -> NDArray[np.float64]:
        kb = ctx.knowledge
        query = encoded(kb, [question])[0]
        of_sentence = kb.encoder.encode_passages([_in_context(item, kb.encoder) for item in candidates]) @ query
        of_hit = kb.vectors([hit.chunk.row for hit in hits]) @ query
        of_passage = np.array([of_hit[item.n - 1] for item in candidates])
        shared = _shared_words(question, [item.text for item in candidates])
        scores: NDArray[np.float64] = (of_sentence + of_passage) / 2 + self.words_weight * shared
        return scores


def _in_context(item: _Candidate, encoder: Encoder) -> str:
    """The sentence after its title and headings, as its passage was encoded; without them where that is too long."""
    context = item.hit.chunk.context
    text = f"{context}\n{item.text}" if context else item.text
    fits = len(encoder.token_starts(text)) + encoder.special_tokens <= encoder.max_tokens
    return text if fits else item.text


def _quotable(text: str) -> Iterator[tuple[int, int]]:
    """Spans of sentences. Long text without a full stop, as in forms and tables of a PDF, is split into lines."""
    for start, end in sentences(text):
        if end - start <= _MAX_SENTENCE:
            yield start, end
        else:
            for line in re.finditer(r"\S[^\n]*", text[start:end]):
                yield start + line.start(), start + line.end()


def one_line(text: str) -> str:
    """The text with each run of white space replaced by one space."""
    return " ".join(text.split())


def _shared_words(question: str, texts: Sequence[str]) -> NDArray[np.float64]:
    """Share of the question's content words in each text, in [0, 1]. Rare words weigh more. Shape (texts,)."""
    wanted = {word.stem for word in words(question) if word.content}
    shared = [{word.stem for word in words(text)} & wanted for text in texts]
    counts = Counter(stem for stems in shared for stem in stems)
    weight = {stem: math.log1p(len(texts) / (1 + counts[stem])) for stem in wanted}
    total = math.fsum(weight.values()) or 1.0
    return np.array([math.fsum(weight[stem] for stem in stems) / total for stems in shared])  # exact in any order
