"""Feedback, refine, stop (Self-Refine, Madaan et al. 2023, arXiv 2303.17651), and whatever else proposes and judges.

::

    first draft ──> judge ──> stop? ──yes──> the best round
                      ^         │no
                      └── propose ┘

What proposes and what judges are handed in; this file keeps the history, counts what was spent, says which of
the reasons to stop came first, and keeps the **best** round, not the last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from llmkit.refine.critique import Critique
from llmkit.types import Usage, Verdict

Reason = Literal["accepted", "unparsable critique", "no gain", "rounds", "calls", "tokens"]


@dataclass(frozen=True, slots=True)
class Limits:
    """When to stop, beside the stop signal."""

    rounds: int
    """Proposals after the first draft."""
    patience: int | None = None
    """Rounds in a row without a better score; None: they do not matter."""
    calls: int | None = None
    """Calls of models; never exceeded."""
    tokens: int | None = None
    """Tokens in and out; no call begins once they are spent, so the last one may pass them."""
    cost: int = 1
    """Calls that one proposal takes."""
    needs_critique: bool = True
    """Whether a critique that cannot be read ends the loop, where no verifier judges."""


class Spending:
    """Calls and tokens so far."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.usage = Usage()

    def add(self, usage: Usage) -> None:
        """Count a call."""
        self.usage += usage

    def over(self, cost: int = 1) -> Literal["calls", "tokens"] | None:
        """Which budget does not allow `cost` further calls; None where both do."""
        if self.limits.calls is not None and self.usage.calls + cost > self.limits.calls:
            return "calls"
        tokens = self.usage.input_tokens + self.usage.output_tokens
        if self.limits.tokens is not None and tokens >= self.limits.tokens:
            return "tokens"
        return None


@dataclass(frozen=True, slots=True)
class Judged:
    """What is said of one draft."""

    verdicts: tuple[tuple[str, Verdict], ...] = ()
    """By verifier."""
    critique: Critique | None = None
    said: str | None = None
    """The critic's reply as it came; None where it was not asked."""

    @property
    def score(self) -> float | None:
        """The verifiers' mean; without verifiers, the critic's own; None where nobody gives one."""
        if self.verdicts:
            return sum(verdict.score for _, verdict in self.verdicts) / len(self.verdicts)
        return self.critique.score if self.critique else None

    @property
    def accepted(self) -> bool:
        """Verifiers that are there are satisfied, a critic that is there accepts."""
        satisfied = all(verdict.score == 1 for _, verdict in self.verdicts)
        heard = self.critique is not None or (self.said is None and bool(self.verdicts))
        return satisfied and heard and (self.critique is None or self.critique.accept)

    @property
    def feedback(self) -> str:
        """Everything that is wrong, a line each, the rules' findings first."""
        lines = [message for _, verdict in self.verdicts for message in verdict.messages]
        if self.critique and self.critique.feedback:
            lines.append(self.critique.feedback)
        return "\n".join(f"- {line}" for line in lines) if len(lines) > 1 else "".join(lines)


@dataclass(frozen=True, slots=True)
class Round:
    """One draft with what was said of it and what both took."""

    n: int
    """0: the draft that came in."""
    draft: str
    judged: Judged
    usage: Usage
    """Of the proposal and of its critic."""

    def row(self) -> dict[str, Any]:
        """JSON values for the trace."""
        judged, critique = self.judged, self.judged.critique
        return {
            "n": self.n,
            "draft": self.draft,
            "score": judged.score,
            "verdicts": [{"verifier": v, "score": x.score, "messages": list(x.messages)} for v, x in judged.verdicts],
            "critic": judged.said,
            "parsed": critique is not None if judged.said is not None else None,
            "accepted": judged.accepted,
            "feedback": judged.feedback,
            "calls": self.usage.calls,
            "input_tokens": self.usage.input_tokens,
            "output_tokens": self.usage.output_tokens,
        }


@dataclass(frozen=True, slots=True)
class Loop:
    """What came of it."""

    rounds: tuple[Round, ...]
    kept: Round
    why: str
    """Why this round was kept, in words."""
    stopped: Reason

    @property
    def record(self) -> dict[str, Any]:
        """JSON values for the trace."""
        return {
            "rounds": [one.row() for one in self.rounds],
            "kept": self.kept.n,
            "kept_because": self.why,
            "stopped": self.stopped,
        }


def loop(
    first: str,
    judge: Callable[[str], Judged],
    propose: Callable[[Sequence[Round]], str],
    spent: Spending,
) -> Loop:
    """Judge and propose until something says stop.

    Args:
        first: the draft of round 0.
        judge: says what is wrong with a draft; may ask a critic, and counts it in `spent`.
        propose: the next draft, made from the rounds so far; counts its calls in `spent`. An empty one is no draft: it
            is recorded, never judged, never kept.
        spent: carries the limits.
    """
    rounds: list[Round] = []
    draft, before = first, Usage()
    while True:
        judged = judge(draft) if draft.strip() or not rounds else Judged()
        rounds.append(Round(len(rounds), draft, judged, _since(spent.usage, before)))
        stopped = _stopped(rounds, spent)
        if stopped is not None:
            kept, why = choose(rounds)
            return Loop(tuple(rounds), kept, why, stopped)
        before = spent.usage
        draft = propose(rounds)


def choose(rounds: Sequence[Round]) -> tuple[Round, str]:
    """The round to keep, and why: the highest score, else the first accepted, else the last; of equals the first."""
    scored = [one for one in rounds if one.judged.score is not None]
    if scored:
        best = max(scored, key=lambda one: one.judged.score or 0.0)
        by = "verifiers'" if best.judged.verdicts else "critic's own"
        return best, f"the highest score, {best.judged.score:.3f}, is its; the score is the {by}"
    for one in rounds:
        if one.judged.accepted:
            return one, "nobody scored a round; it is the first that the critic accepted"
    drafts = [one for one in rounds if one.draft.strip()] or list(rounds)
    judged = [one for one in drafts if one.judged.said is not None]
    if judged and judged[-1].judged.critique is None:
        return judged[-1], "the critic's reply could not be read: the draft stays as it was"
    return drafts[-1], "nobody scored or accepted a round; it is the last, as in the paper"


def _stopped(rounds: Sequence[Round], spent: Spending) -> Reason | None:
    limits, last = spent.limits, rounds[-1].judged
    if last.accepted:
        return "accepted"
    if limits.needs_critique and last.said is not None and last.critique is None and not last.verdicts:
        return "unparsable critique"
    if limits.patience is not None and _without_gain(rounds) >= limits.patience:
        return "no gain"
    if len(rounds) > limits.rounds:
        return "rounds"
    return spent.over(limits.cost)


def _without_gain(rounds: Sequence[Round]) -> int:
    """Rounds since the best one; 0 where scores are not given."""
    scores = [one.judged.score for one in rounds]
    if all(score is None for score in scores):
        return 0
    known = [-1.0 if score is None else score for score in scores]
    return len(known) - 1 - known.index(max(known))


def _since(now: Usage, before: Usage) -> Usage:
    return Usage(
        now.input_tokens - before.input_tokens, now.output_tokens - before.output_tokens, now.calls - before.calls
    )
