"""Self-consistency: the answer most samples agree on (Wang et al. 2022, arXiv 2203.11171), read off by a rule."""

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
    """What the samples agree on."""

    winner: int | None
    """Position of the first sample with the majority's answer; None where no answer could be read."""
    answer: str | None
    votes: dict[str, int]
    """By answer, most first."""
    unread: int
    """Samples without an answer; they do not vote."""

    @property
    def share(self) -> float:
        """Of all samples that gave the answer, the unread ones counted against it."""
        total = sum(self.votes.values()) + self.unread
        return self.votes[self.answer] / total if self.answer is not None else 0.0


def majority(samples: Sequence[str], rule: Rule, labels: Sequence[str] = ()) -> Vote:
    """Count the answers; of equals the one that was given first wins."""
    read = [extract(sample, rule, labels) for sample in samples]
    counted = Counter(answer for answer in read if answer is not None)
    if not counted:
        return Vote(None, None, {}, len(samples))
    answer = counted.most_common(1)[0][0]
    return Vote(read.index(answer), answer, dict(counted.most_common()), len(samples) - counted.total())


def extract(sample: str, rule: Rule, labels: Sequence[str] = ()) -> str | None:
    """The answer of one sample, in a form in which equal ones are the same text; None where there is none.

    number: the last number; last-line: the last line that is not blank, in one case and without closing full stop;
    label: the one label named, where exactly one is.
    """
    if rule == "number":
        found = _NUMBER.findall(sample)
        return format(Decimal(found[-1].replace(",", "")).normalize(), "f") if found else None
    if rule == "last-line":
        lines = [line.strip() for line in sample.splitlines() if line.strip()]
        return " ".join(lines[-1].casefold().rstrip(".").split()) if lines else None
    folded = sample.casefold()
    named = [label for label in labels if re.search(rf"(?<!\w){re.escape(label.casefold())}(?!\w)", folded)]
    return named[0] if len(named) == 1 else None
