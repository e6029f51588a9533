"""Checks every sentence of an answer against the passages it cites."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from pydantic import Field

from llmkit.grounding import Passage, Support, evidence_from, find_support
from llmkit.part import Part
from llmkit.pipeline.steps.answering.answer import MARK
from llmkit.pipeline.steps.answering.prompt_passages import NOT_FOUND
from llmkit.protocols import Context
from llmkit.text.sentences import sentences
from llmkit.types import Answer, Citation, Hit, State

_Shown = tuple[Hit, Passage]  # a passage, and what of it is evidence
INJECTED = "the passage speaks to the assistant there, which is no evidence"
"""Why a citation does not support a sentence that only an instruction in its passage does."""


@dataclass(frozen=True, slots=True)
class Checked:
    """A sentence and the citations it rests on."""

    text: str
    """The sentence as it will be shown, with its marks."""
    citations: tuple[Citation, ...]

    @property
    def supported(self) -> bool:
        """Whether a citation supports it."""
        return any(citation.supported for citation in self.citations)

    @property
    def why(self) -> str:
        """What was found for each citation."""
        return "; ".join(f"[{c.n}] {c.reason}" for c in self.citations) or "cites no passage, and none supports it"


class Ground(Part):
    """Keeps, marks or drops what the cited passages do not support.

    A sentence that cites nothing is compared with every passage that was shown; where one supports it,
    that passage's number is put behind it (``attribute``). What speaks to the assistant in a passage is no evidence.
    """

    family: ClassVar[str] = "step"
    type: ClassVar[str] = "ground"
    needs: ClassVar[frozenset[str]] = frozenset({"answer", "hits"})
    gives: ClassVar[frozenset[str]] = frozenset({"answer"})

    on_unsupported: Literal["mark", "drop", "abstain"] = "mark"
    """mark: keep and list the sentence; drop: leave it out; abstain: one such sentence and there is no answer."""
    overlap: float = Field(default=0.75, gt=0, le=1)
    """Minimum score of a supported sentence: the share of its content words that its passage has."""
    attribute: bool = True
    """Whether a sentence without a citation gets the number of a passage that supports it."""

    def run(self, state: State, ctx: Context) -> State:
        """Replace ``state.answer`` by its checked form."""
        answer = state.answer
        if answer is None or answer.abstained:
            return state
        checked = self.check(answer.text, state.hits)
        failed = [sentence.text for sentence in checked if not sentence.supported]
        spoken = [item for item in checked if any(citation.reason == INJECTED for citation in item.citations)]
        if spoken:
            ctx.note(f"sentences that rest on text that speaks to the assistant, which is no evidence: {len(spoken)}")
        ctx.record(
            sentences=len(checked),
            unsupported=[{"sentence": item.text, "why": item.why} for item in checked if not item.supported],
        )
        if failed and self.on_unsupported == "abstain":
            ctx.note(f"{len(failed)} of {len(checked)} sentences are not supported: no answer is given")
            return state.replace(answer=Answer(NOT_FOUND, abstained=True, unsupported=tuple(failed)))
        kept = [item for item in checked if item.supported or self.on_unsupported == "mark"]
        if not kept:
            ctx.note("no sentence of the answer is supported: no answer is given")
            return state.replace(answer=Answer(NOT_FOUND, abstained=True, unsupported=tuple(failed)))
        if self.on_unsupported == "drop" and failed:
            ctx.note(f"{len(failed)} unsupported sentences were left out")
        citations = sorted({c for item in kept for c in item.citations}, key=lambda c: (c.n, c.start))
        text = answer.text if kept == checked and not self._added(checked, answer) else " ".join(k.text for k in kept)
        return state.replace(answer=Answer(text, tuple(citations), unsupported=tuple(failed)))

    def check(self, text: str, hits: Sequence[Hit]) -> list[Checked]:
        """Every sentence of a text with its citations, checked against the passages."""
        shown = [(hit, evidence_from(hit.chunk)) for hit in hits]
        return [self._check(sentence, shown) for sentence in _cited_sentences(text)]

    def _added(self, checked: Sequence[Checked], answer: Answer) -> bool:
        return any(item.text not in answer.text for item in checked)

    def _check(self, sentence: str, hits: Sequence[_Shown]) -> Checked:
        numbers = list(dict.fromkeys(int(n) for mark in MARK.finditer(sentence) for n in mark.group(1).split(",")))
        claim = MARK.sub("", sentence).strip()
        if numbers:
            return Checked(sentence, tuple(self._cite(claim, n, hits) for n in numbers))
        if not self.attribute:
            return Checked(sentence, ())
        tried = [self._cite(claim, n, hits) for n in range(1, len(hits) + 1)]
        spoken = next((citation for citation in tried if citation.reason == INJECTED), None)  # says where it is from
        found = next((citation for citation in tried if citation.supported), spoken)
        return Checked(f"{sentence} [{found.n}]", (found,)) if found else Checked(sentence, ())

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


def cite(n: int, hit: Hit, found: Support) -> Citation:
    """A citation of the run of the passage that supports (or comes nearest)."""
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


def _cited_sentences(text: str) -> list[str]:
    """Sentences with their marks: ``It rains. [1]`` keeps the mark behind the full stop."""
    joined: list[str] = []
    for start, end in sentences(text):
        piece = text[start:end]
        lead = MARK.match(piece)
        while lead and joined:
            joined[-1] += f" {lead.group()}"
            piece = piece[lead.end() :].lstrip(" .。")
            lead = MARK.match(piece)
        if piece:
            joined.append(piece)
    return joined
