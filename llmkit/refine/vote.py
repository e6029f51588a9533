"""Self-consistency: the answer that most samples agree on (Wang et al. 2022, arXiv 2203.11171), read by a rule."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

Rule = Literal["number", "last-line", "label"]
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


@dataclass(frozen=True, slots=True)
class Vote:
    """The result of a majority vote over samples."""

    winner: int | None
    """Position of the first sample with the majority's answer; None where no sample has a readable answer."""
    answer: str | None
    """The majority's answer."""
    votes: dict[str, int]
    """Number of samples for each answer, largest first."""
    unreadable: int
    """Number of samples without a readable answer; they do not vote."""

    @property
    def share(self) -> float:
        """Share of all samples, the unreadable ones included, that gave the majority's answer."""
        total = sum(self.votes.values()) + self.unreadable
        return self.votes[self.answer] / total if self.answer is not None else 0.0


def majority_vote(samples: Sequence[str], rule: Rule, labels: Sequence[str] = ()) -> Vote:
    """Count the answers of the samples. Of answers with equally many votes, the one that came first wins."""
    answers = [extract_answer(sample, rule, labels) for sample in samples]
    counted = Counter(answer for answer in answers if answer is not None)
    if not counted:
        return Vote(None, None, {}, len(samples))
    answer = counted.most_common(1)[0][0]
    return Vote(answers.index(answer), answer, dict(counted.most_common()), len(samples) - counted.total())


def extract_answer(sample: str, rule: Rule, labels: Sequence[str] = ()) -> str | None:
    """The answer of one sample in a normal form, so that equal answers are equal texts; None where there is none.

    Args:
        sample: the text.
        rule: ``number``: the last number; ``last-line``: the last line that is not blank, case-folded and without its
            closing full stop; ``label``: the label that the text names, where it names exactly one.
        labels: all labels, for the rule ``label``.
    """
    if rule == "number":
        numbers = _NUMBER.findall(sample)
        return format(Decimal(numbers[-1].replace(",", "")).normalize(), "f") if numbers else None
    if rule == "last-line":
        lines = [line.strip() for line in sample.splitlines() if line.strip()]
        return " ".join(lines[-1].casefold().rstrip(".").split()) if lines else None
    folded = sample.casefold()
    named = [label for label in labels if re.search(rf"(?<!\w){re.escape(label.casefold())}(?!\w)", folded)]
    return named[0] if len(named) == 1 else None
