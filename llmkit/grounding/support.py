"""Does a passage support a sentence? Answered from the words alone, with the place that does.

A sentence is supported by an exact quote, or by a neighbourhood of the passage that shares most of its content words,
all its numbers and all its names, and agrees with it on negation. What stands behind a negation is no quote. It is a
check of wording, not of truth: a paraphrase in other words is reported as unsupported, which is the error on the safe
side.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from llmkit.text.sentences import sentences
from llmkit.text.words import Word, words

_CLAUSE_END = re.compile(r"[.,;:!?()\n。、，；：！？—–]")
_SPELLED = {
    **{word: str(n) for n, word in enumerate(
        """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
        seventeen eighteen nineteen twenty""".split()
    )},
    **{word: f"{n}0" for n, word in enumerate("thirty forty fifty sixty seventy eighty ninety".split(), 3)},
    "hundred": "100", "thousand": "1000", "million": "1000000", "billion": "1000000000", "dozen": "12",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Support:
    """The run of a passage that supports a sentence best."""

    start: int
    end: int
    score: float
    """Share of the sentence's content words found there; 1.0 for an exact quote."""
    reason: str
    supported: bool


def support(sentence: str, passage: str, *, context: str = "", overlap: float = 0.75) -> Support:
    """The best support of `sentence` in `passage`.

    Args:
        sentence: the claim, without citation marks.
        passage: the cited text; the offsets of the result point into it.
        context: title and headings of the passage: names may come from there.
        overlap: least share of content words for a supported paraphrase.
    """
    claim, evidence = words(sentence), words(passage)
    if not claim:
        return Support(0, 0, 0.0, "nothing is claimed", supported=False)
    quote = _quote(claim, evidence, passage)
    if quote is not None:
        return Support(*quote, 1.0, "exact quote", supported=True)
    around = {word.stem for word in words(context)}
    alone = [_Window(claim, evidence, span) for span in sentences(passage)]
    joined = [first.and_then(second, claim, evidence) for first, second in pairwise(alone)]
    judged = [_judge(claim, window, around, overlap) for window in [*alone, *joined]]
    best = max(judged, key=lambda found: (found.supported, found.score, found.start - found.end), default=None)
    return best or Support(0, len(passage), 0.0, "the passage is empty", supported=False)


class _Window:
    """One sentence of the evidence, or two neighbours."""

    def __init__(self, claim: Sequence[Word], evidence: Sequence[Word], span: tuple[int, int]) -> None:
        self.start, self.end = span
        inside = [word for word in evidence if self.start <= word.start < self.end]
        self.stems = {word.stem for word in inside}
        self.numbers = {_figure(word) for word in inside} - {""}
        self.capitals = {word.stem for word in inside if word.name and word.content}
        self.denies = any(word.negation for word in inside)
        content = [word for word in claim if word.content]
        held = sum(word.stem in self.stems or _figure(word) in self.numbers for word in content)
        self.share = held / len(content) if content else 0.0

    def and_then(self, other: _Window, claim: Sequence[Word], evidence: Sequence[Word]) -> _Window:
        """Both together. Whether they deny is said by the one that has more of the claim."""
        both = _Window(claim, evidence, (self.start, other.end))
        both.denies = max(self, other, key=lambda window: window.share).denies
        return both


def _figure(word: Word) -> str:
    """A number in digits, spelled out or not; empty for every other word."""
    return word.text if word.number else _SPELLED.get(word.text, "")


def _quote(claim: Sequence[Word], evidence: Sequence[Word], passage: str) -> tuple[int, int] | None:
    wanted = [word.text for word in claim]
    if len(wanted) < 3 and not any(word.number or (word.name and word.content) for word in claim):
        return None  # one or two common words are found anywhere
    for i in range(len(evidence) - len(wanted) + 1):
        same = evidence[i].text == wanted[0] and [word.text for word in evidence[i : i + len(wanted)]] == wanted
        if same and not _denied(evidence, i, passage):
            return evidence[i].start, evidence[i + len(wanted) - 1].end
    return None


def _denied(evidence: Sequence[Word], at: int, passage: str) -> bool:
    """Whether a negation stands before this word in its clause."""
    for i in range(at - 1, -1, -1):
        if _CLAUSE_END.search(passage, evidence[i].end, evidence[i + 1].start):
            return False
        if evidence[i].negation:
            return True
    return False


def _judge(claim: Sequence[Word], window: _Window, around: set[str], overlap: float) -> Support:
    known = window.stems | around
    strange = [word.text for word in claim if _figure(word) and _figure(word) not in window.numbers]
    # a sentence's first word is capitalised without being a name, unless it stands in the place of one
    others = window.capitals - {word.stem for word in claim}
    strangers = [
        word.text for word in claim[0 if others else 1 :] if word.name and word.content and word.stem not in known
    ]
    if window.share < overlap:
        reason = f"{window.share:.0%} of its content words are there"
    elif strange:
        reason = f"the number {strange[0]} is not there"
    elif strangers:
        reason = f"the name {strangers[0]!r} is not there"
    elif any(word.negation for word in claim) != window.denies:
        reason = "one of the two is negated"
    else:
        reason = f"{window.share:.0%} of its content words, all numbers and names"
        return Support(window.start, window.end, window.share, reason, supported=True)
    return Support(window.start, window.end, window.share, reason, supported=False)
