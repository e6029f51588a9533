"""Step ``ground``: checks every sentence of an answer against the passages it cites."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from pydantic import Field

from llmkit.grounding import Passage, Support, evidence_from, find_support
from llmkit.part import Part
from llmkit.pipeline.steps.answering.markdown_sentences import (
    Sentence,
    find_sentences,
    insert_marks,
    remove_sentences,
)
from llmkit.pipeline.steps.answering.prompt_passages import NOT_FOUND
from llmkit.protocols import Context
from llmkit.types import Answer, Citation, Hit, State

_Shown = tuple[Hit, Passage]  # a passage, and the part of it that is evidence
INJECTED = "the passage addresses the assistant there, which is no evidence"
"""Reason of a citation where only an instruction in the passage supports the sentence."""


@dataclass(frozen=True, slots=True)
class CheckedSentence:
    """A sentence of an answer and the citations it rests on."""

    text: str
    """The sentence as it will be shown, with its marks."""
    citations: tuple[Citation, ...]
    sentence: Sentence
    """Its place in the answer."""
    added: int | None = None
    """Number of the passage whose mark is to be inserted; None: the sentence keeps its own marks."""

    @property
    def supported(self) -> bool:
        """Whether at least one of its citations supports it."""
        return any(citation.supported for citation in self.citations)

    @property
    def why(self) -> str:
        """The reason of each citation."""
        return "; ".join(f"[{c.n}] {c.reason}" for c in self.citations) or "cites no passage, and none supports it"


class Ground(Part):
    """Checks each sentence of the answer against the passages it cites.

    The answer may be Markdown: sentences of paragraphs, list items and table cells are checked, headings, list numbers,
    rules and code are not, and nothing but marks is inserted. A sentence without a citation is compared with every
    passage that was shown, and gets the mark of the first that supports it (`attribute`). Text in a passage that
    addresses the assistant is no evidence.
    """

    family: ClassVar[str] = "step"
    type: ClassVar[str] = "ground"
    needs: ClassVar[frozenset[str]] = frozenset({"answer", "hits"})
    gives: ClassVar[frozenset[str]] = frozenset({"answer"})

    on_unsupported: Literal["mark", "drop", "abstain"] = "mark"
    """mark: keep and list unsupported sentences; drop: remove them; abstain: give no answer if there is one."""
    overlap: float = Field(default=0.75, gt=0, le=1)
    """Lowest score of a supported sentence: the share of its content words that its passage contains."""
    attribute: bool = True
    """Whether a sentence without a citation gets the number of a passage that supports it."""

    def run(self, state: State, ctx: Context) -> State:
        """Replace ``state.answer`` by its checked form."""
        answer = state.answer
        if answer is None or answer.abstained:
            return state
        checked = self.check(answer.text, state.hits)
        if checked and not answer.complete:
            checked[-1] = _mark_cut_off(checked[-1], answer.finish_reason)
        failed = tuple(item.text for item in checked if not item.supported)
        injected = [item for item in checked if any(citation.reason == INJECTED for citation in item.citations)]
        if injected:
            ctx.note(f"sentences that rest on text that addresses the assistant, which is no evidence: {len(injected)}")
        ctx.record(
            sentences=len(checked),
            unsupported=[{"sentence": item.text, "why": item.why} for item in checked if not item.supported],
        )
        if failed and self.on_unsupported == "abstain":
            ctx.note(f"{len(failed)} of {len(checked)} sentences are not supported: no answer is given")
            return state.replace(answer=Answer(NOT_FOUND, abstained=True, unsupported=failed))
        kept = [item for item in checked if item.supported or self.on_unsupported == "mark"]
        if not kept:
            reason = "no sentence of the answer is supported" if checked else "the answer has no sentence to check"
            ctx.note(f"{reason}: no answer is given")
            return state.replace(answer=Answer(NOT_FOUND, abstained=True, unsupported=failed))
        text = answer.text
        if len(kept) < len(checked):
            ctx.note(f"{len(failed)} unsupported sentences were left out")
            dropped = [item.sentence for item in checked if not item.supported]
            text = remove_sentences(text, dropped, [item.sentence for item in kept], _marks(kept))
        else:
            text = insert_marks(text, _marks(kept))
        citations = sorted({c for item in kept for c in item.citations}, key=lambda c: (c.n, c.start))
        return state.replace(answer=replace(answer, text=text, citations=tuple(citations), unsupported=failed))

    def check(self, text: str, hits: Sequence[Hit]) -> list[CheckedSentence]:
        """Each sentence of a text with its citations, checked against the passages."""
        shown = [(hit, evidence_from(hit.chunk)) for hit in hits]
        return [self._check(sentence, _text_of(sentence, text), shown) for sentence in find_sentences(text)]

    def _check(self, sentence: Sentence, text: str, hits: Sequence[_Shown]) -> CheckedSentence:
        if sentence.numbers:
            citations = tuple(self._cite(sentence.claim, n, hits) for n in sentence.numbers)
            return CheckedSentence(text, citations, sentence)
        if not self.attribute:
            return CheckedSentence(text, (), sentence)
        candidates = [self._cite(sentence.claim, n, hits) for n in range(1, len(hits) + 1)]
        injected = next((citation for citation in candidates if citation.reason == INJECTED), None)  # names its source
        best = next((citation for citation in candidates if citation.supported), injected)
        if best is None:
            return CheckedSentence(text, (), sentence)
        return CheckedSentence(f"{text} [{best.n}]", (best,), sentence, best.n)

    def _cite(self, claim: str, n: int, hits: Sequence[_Shown]) -> Citation:
        if not 1 <= n <= len(hits):
            reason = f"there is no passage {n}: {len(hits)} were shown"
            return Citation(n, "", "", "", 0, 0, "", supported=False, reason=reason)
        hit, evidence = hits[n - 1]
        chunk = hit.chunk
        found = find_support(claim, evidence, threshold=self.overlap)
        if not found.supported and evidence.text != chunk.text:
            whole = find_support(claim, Passage(chunk.text, chunk.context), threshold=self.overlap)
            found = replace(whole, supported=False, reason=INJECTED) if whole.supported else found
        return cite(n, hit, found)


def _text_of(sentence: Sentence, text: str) -> str:
    """The sentence as the model wrote it; a short table cell follows the label of its row."""
    written = text[sentence.start : sentence.end]
    return f"{sentence.label}: {written}" if sentence.label else written


def _marks(checked: Sequence[CheckedSentence]) -> list[tuple[int, int]]:
    return [(item.sentence.mark_at, item.added) for item in checked if item.added is not None]


def cite(n: int, hit: Hit, found: Support) -> Citation:
    """A citation of the run of the passage that supports a sentence, or that comes nearest to it."""
    chunk = hit.chunk
    return Citation(
        n,
        chunk.document,
        chunk.version,
        chunk.id,
        chunk.start + found.start,
        chunk.start + found.end,
        chunk.text[found.start : found.end],
        found.supported,
        found.reason,
    )


def _mark_cut_off(last: CheckedSentence, finish_reason: str) -> CheckedSentence:
    """The last sentence of an incomplete reply, unsupported: its end is missing."""
    why = f"the reply was cut off here ({finish_reason})"
    return replace(last, citations=tuple(replace(one, supported=False, reason=why) for one in last.citations))
