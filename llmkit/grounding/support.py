"""Does a passage support a sentence? Answered from the words alone, with the place that does.

A sentence is laid beside each sentence of a passage and each pair of neighbours. The score is the share of its content
words that stand there, in any order; it is halved where something speaks against it: a number or a name that is not
there, another polarity, an opposite, a word in the place of another one. An exact quote scores 1. So a sentence that
contradicts a passage scores at most 0.5, and the passage's own words score 1 in any order.

The check compares wording, not truth. A paraphrase in other words counts as unsupported, which is the error on the safe
side. Who did what to whom is not seen: `Ann opened the valve` and `The valve opened Ann` are the same words.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass

from llmkit.grounding.keys import key_of, number_of
from llmkit.grounding.passage import Passage, Window
from llmkit.grounding.polarity import find_negations
from llmkit.grounding.swaps import find_opposite, find_swap
from llmkit.text.sentences import sentences
from llmkit.text.words import words

THRESHOLD = 0.75
"""The score from which a sentence counts as supported. benchmarks/groundedness.py measures it."""
_AGAINST = 0.5  # what is left of a score where something speaks against the sentence


@dataclass(frozen=True, slots=True)
class Support:
    """The run of a passage that supports a sentence best."""

    start: int
    """Offset of the run's first character in its passage."""
    end: int
    score: float
    """In [0, 1]: the share of content words found, halved where something speaks against the sentence."""
    reason: str
    """What was found, or what speaks against the sentence."""
    supported: bool
    """Whether the score reaches the threshold and nothing speaks against the sentence."""
    passage: int = 0
    """Place of the passage among those given, from 0."""


def find_support(
    sentence: str, passages: str | Passage | Sequence[str | Passage], *, threshold: float = THRESHOLD
) -> Support:
    """The best support of one sentence in any of the passages.

    Args:
        sentence: the claim, without citation marks.
        passages: one passage or many; a text stands for a passage without title and headings.
        threshold: minimum score of a supported sentence.
    """
    return _find(_Claim(sentence), _read(passages), threshold)


def judge_sentences(
    text: str, passages: str | Passage | Sequence[str | Passage], *, threshold: float = THRESHOLD
) -> list[Support]:
    """:func:`find_support` for each sentence of `text` that has words, in order."""
    read = _read(passages)
    claims = [_Claim(text[start:end]) for start, end in sentences(text)]
    return [_find(claim, read, threshold) for claim in claims if claim.words]


def _read(passages: str | Passage | Sequence[str | Passage]) -> list[Passage]:
    given = [passages] if isinstance(passages, str | Passage) else passages
    return [Passage(passage) if isinstance(passage, str) else passage for passage in given]


class _Claim:
    """A sentence read once."""

    def __init__(self, sentence: str) -> None:
        self.words = words(sentence)
        self.content = [word for word in self.words if word.content]
        self.numbers = [word for word in self.words if number_of(word)]
        self.stems = {word.stem for word in self.words}
        self.negations = find_negations(sentence, self.words)[1] if self.words else []


def _find(claim: _Claim, passages: Sequence[Passage], threshold: float) -> Support:
    if not claim.words:
        return Support(0, 0, 0.0, "nothing is claimed", supported=False)
    best = Support(0, 0, 0.0, "the passage is empty", supported=False)
    for n, passage in enumerate(passages):
        found = _quote(claim, passage, n) or _nearest(claim, passage, n, threshold)
        first = n == 0 and passage.words
        if first or (found.supported, found.score) > (best.supported, best.score):
            best = found
    return best


def _quote(claim: _Claim, passage: Passage, n: int) -> Support | None:
    """The first place where the passage has exactly these words, and no negation before them denies them."""
    wanted = [word.text for word in claim.words]
    evidence = passage.words
    common = len(wanted) < 3 and not any(word.number or (word.name and word.content) for word in claim.words)
    for i in range(len(evidence) - len(wanted) + 1):
        if evidence[i].text != wanted[0]:
            continue
        run = evidence[i : i + len(wanted)]
        if [word.text for word in run] != wanted:
            continue
        start, end = run[0].start, run[-1].end
        whole = any((one.words[0].start, one.words[-1].end) == (start, end) for one in passage.sentences)
        # one or two common words are found anywhere; a whole sentence of the passage is no accident
        if (whole or not common) and not _denied(passage, start, end):
            return Support(start, end, 1.0, "exact quote", supported=True, passage=n)
    return None


def _denied(passage: Passage, start: int, end: int) -> bool:
    """Whether a negation outside this run of the passage denies a word of it."""
    return any(
        not start <= negation.word.start < end and any(start <= word.start < end for word in negation.scope)
        for negation in passage.negations
    )


def _nearest(claim: _Claim, passage: Passage, n: int, threshold: float) -> Support:
    """The window that supports the claim best; of equal ones the shortest, then the first."""
    best = Support(0, len(passage.text), 0.0, "none of its content words are there", supported=False, passage=n)
    shares = [(_share(claim, window, passage), window) for window in passage.windows]
    # what speaks against a claim only lowers its score, so that a window with a lower share need not be looked at
    for share, window in sorted(shares, key=lambda pair: (-pair[0], pair[1].end - pair[1].start)):
        if share <= best.score and (best.supported or share < threshold):
            break
        against = _objection(claim, window, passage)
        score = share * _AGAINST if against else share
        supported = not against and score >= threshold
        if (supported, score) <= (best.supported, best.score):
            continue
        reason = f"{share:.0%} of its content words"
        if supported:
            reason += ", all numbers and names"
        elif against and share >= _AGAINST:
            reason = against
        else:
            reason += " are there"
        best = Support(window.start, window.end, score, reason, supported, n)
    return best


def _share(claim: _Claim, window: Window, passage: Passage) -> float:
    """Share of the claim's content words in the window, names of the title and headings included."""
    found = [key_of(word) in window.keys for word in claim.content]
    if not any(found):
        return 0.0
    named = [word.name and word.stem in passage.context_stems for word in claim.content]
    return sum(here or known for here, known in zip(found, named, strict=True)) / len(found)


def _objection(claim: _Claim, window: Window, passage: Passage) -> str:
    """What speaks against the claim, empty where nothing does."""
    for word in claim.numbers:
        if key_of(word) not in window.keys:
            return f"the number {word.text} is not there"
    # a sentence's first word is capitalised without being a name, unless it stands in the place of one
    others = window.names - claim.stems
    for word in claim.words[0 if others else 1 :]:
        if word.name and word.content and word.stem not in window.keys and word.stem not in passage.context_stems:
            return f"the name {word.text!r} is not there"
    if _polarity_differs(claim, window):
        return "one of the two is negated"
    opposite = find_opposite(claim.words, window)
    if opposite:
        return f"{opposite!r} is not there, but an opposite is"
    swap = find_swap(claim.words, window)
    return f"{swap[0]!r} stands where the passage says {swap[1]!r}" if swap else ""


def _polarity_differs(claim: _Claim, window: Window) -> bool:
    """Whether a negation of the one has no counterpart in the other; `without` is compared with `without` alone.

    A negation of the window counts where it denies a word of the claim, in a clause that has as many of the claim's
    words as any other clause, or one that no other clause has.
    """
    content = {key_of(word) for word in claim.content}
    clauses = [content & {key_of(word) for word in clause} for clause in window.clauses]
    fullest = max((len(clause) for clause in clauses), default=0)
    counted = []
    for negation in window.negations:
        clause = set[str]().union(*clauses[negation.first : negation.last + 1])
        others = set[str]().union(*clauses[: negation.first], *clauses[negation.last + 1 :])
        if negation.keys & content and (len(clause) >= fullest or clause - others):
            counted.append(negation)
    return any(
        not _counterparts(
            [negation.keys for negation in claim.negations if negation.of_phrase == of_phrase],
            [negation.keys & content for negation in counted if negation.of_phrase == of_phrase],
        )
        for of_phrase in (False, True)
    )


def _counterparts(ours: Sequence[Set[str]], theirs: Sequence[Set[str]]) -> bool:
    """Whether every scope of the one side shares a word with a scope of the other."""
    return all(any(scope & other for other in theirs) for scope in ours) and all(
        any(scope & other for other in ours) for scope in theirs
    )
