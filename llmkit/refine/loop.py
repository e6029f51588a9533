"""The refinement loop: judge a draft, propose another one, stop (Self-Refine, Madaan et al. 2023, arXiv 2303.17651).

::

    first draft ──> judge ──> stop? ──yes──> the best round
                      ^         │no
                      └── propose ┘

The caller passes the functions that propose and judge. This module keeps the history, counts calls and tokens, names
the first reason to stop, and returns the **best** round, not the last.
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
    """When to stop, besides acceptance."""

    rounds: int
    """Maximum number of proposals after the first draft."""
    patience: int | None = None
    """Rounds in a row without a better score before the loop stops; None: scores do not stop it."""
    calls: int | None = None
    """Maximum number of model calls, never exceeded."""
    tokens: int | None = None
    """Tokens in and out. No call begins once they are used, so the last call may exceed them."""
    cost: int = 1
    """Model calls that one proposal takes."""
    needs_critique: bool = True
    """Whether an unreadable critique ends the loop where no verifier judges."""


class Spending:
    """Counts the calls and tokens of a loop against its limits."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.usage = Usage()

    def add(self, usage: Usage) -> None:
        """Count a call."""
        self.usage += usage

    def exhausted(self, cost: int = 1) -> Literal["calls", "tokens"] | None:
        """The budget that does not allow `cost` more calls; None where both allow them."""
        if self.limits.calls is not None and self.usage.calls + cost > self.limits.calls:
            return "calls"
        tokens = self.usage.input_tokens + self.usage.output_tokens
        if self.limits.tokens is not None and tokens >= self.limits.tokens:
            return "tokens"
        return None


@dataclass(frozen=True, slots=True)
class Judgement:
    """What verifiers and a critic say about one draft."""

    verdicts: tuple[tuple[str, Verdict], ...] = ()
    """Name and verdict of each verifier."""
    critique: Critique | None = None
    """The critic's reply as a form; None where the critic was not asked or its reply does not follow the form."""
    critic_reply: str | None = None
    """The critic's reply as it came; None where the critic was not asked."""

    @property
    def score(self) -> float | None:
        """The mean of the verifiers' scores; without verifiers the critic's score; None where nobody gives one."""
        if self.verdicts:
            return sum(verdict.score for _, verdict in self.verdicts) / len(self.verdicts)
        return self.critique.score if self.critique else None

    @property
    def accepted(self) -> bool:
        """Whether every verifier is satisfied and the critic, where one was asked, accepts."""
        satisfied = all(verdict.score == 1 for _, verdict in self.verdicts)
        complete = self.critique is not None or (self.critic_reply is None and bool(self.verdicts))
        return satisfied and complete and (self.critique is None or self.critique.accept)

    @property
    def feedback(self) -> str:
        """All complaints, one a line, those of the verifiers first."""
        lines = [message for _, verdict in self.verdicts for message in verdict.messages]
        if self.critique and self.critique.feedback:
            lines.append(self.critique.feedback)
        return "\n".join(f"- {line}" for line in lines) if len(lines) > 1 else "".join(lines)


@dataclass(frozen=True, slots=True)
class Round:
    """One draft, its judgement, and what both cost."""

    n: int
    """Number of the round; 0 is the draft that the loop began with."""
    draft: str
    judgement: Judgement
    usage: Usage
    """Usage of the proposal and of the critic."""

    def to_json(self) -> dict[str, Any]:
        """JSON values for the trace."""
        judgement, critique = self.judgement, self.judgement.critique
        return {
            "n": self.n,
            "draft": self.draft,
            "score": judgement.score,
            "verdicts": [
                {"verifier": name, "score": verdict.score, "messages": list(verdict.messages)}
                for name, verdict in judgement.verdicts
            ],
            "critic": judgement.critic_reply,
            "parsed": critique is not None if judgement.critic_reply is not None else None,
            "accepted": judgement.accepted,
            "feedback": judgement.feedback,
            "calls": self.usage.calls,
            "input_tokens": self.usage.input_tokens,
            "output_tokens": self.usage.output_tokens,
        }


@dataclass(frozen=True, slots=True)
class LoopResult:
    """All rounds of a loop, the one it keeps, and why it stopped."""

    rounds: tuple[Round, ...]
    kept: Round
    why: str
    """Why this round is kept, as a sentence."""
    stopped: Reason

    @property
    def record(self) -> dict[str, Any]:
        """JSON values for the trace."""
        return {
            "rounds": [one.to_json() for one in self.rounds],
            "kept": self.kept.n,
            "kept_because": self.why,
            "stopped": self.stopped,
        }


def run_loop(
    first: str,
    judge: Callable[[str], Judgement],
    propose: Callable[[Sequence[Round]], str],
    spending: Spending,
) -> LoopResult:
    """Judge and propose until there is a reason to stop.

    Args:
        first: the draft of round 0.
        judge: judges a draft; a critic that it asks is counted in `spending`.
        propose: writes the next draft from the rounds so far and counts its calls in `spending`. An empty draft is
            recorded, but neither judged nor kept.
        spending: counts against the limits of the loop.
    """
    rounds: list[Round] = []
    draft, before = first, Usage()
    while True:
        judgement = judge(draft) if draft.strip() or not rounds else Judgement()
        rounds.append(Round(len(rounds), draft, judgement, _difference(spending.usage, before)))
        reason = _reason_to_stop(rounds, spending)
        if reason is not None:
            kept, why = choose_round(rounds)
            return LoopResult(tuple(rounds), kept, why, reason)
        before = spending.usage
        draft = propose(rounds)


def choose_round(rounds: Sequence[Round]) -> tuple[Round, str]:
    """The round to keep, and why.

    The round with the highest score, else the first accepted one, else the last. The first of equal scores wins.
    """
    scored = [one for one in rounds if one.judgement.score is not None]
    if scored:
        best = max(scored, key=lambda one: one.judgement.score or 0.0)
        by = "the verifiers" if best.judgement.verdicts else "the critic"
        return best, f"it has the highest score, {best.judgement.score:.3f}, given by {by}"
    for one in rounds:
        if one.judgement.accepted:
            return one, "no round has a score; this is the first that the critic accepted"
    drafts = [one for one in rounds if one.draft.strip()] or list(rounds)
    judged = [one for one in drafts if one.judgement.critic_reply is not None]
    if judged and judged[-1].judgement.critique is None:
        return judged[-1], "the critic's reply could not be read: the draft stays as it was"
    return drafts[-1], "no round was scored or accepted; this is the last one, as in the paper"


def _reason_to_stop(rounds: Sequence[Round], spending: Spending) -> Reason | None:
    limits, last = spending.limits, rounds[-1].judgement
    if last.accepted:
        return "accepted"
    if limits.needs_critique and last.critic_reply is not None and last.critique is None and not last.verdicts:
        return "unparsable critique"
    if limits.patience is not None and _rounds_without_gain(rounds) >= limits.patience:
        return "no gain"
    if len(rounds) > limits.rounds:
        return "rounds"
    return spending.exhausted(limits.cost)


def _rounds_without_gain(rounds: Sequence[Round]) -> int:
    """Rounds since the best one; 0 where no round has a score."""
    scores = [one.judgement.score for one in rounds]
    if all(score is None for score in scores):
        return 0
    comparable = [-1.0 if score is None else score for score in scores]
    return len(comparable) - 1 - comparable.index(max(comparable))


def _difference(now: Usage, before: Usage) -> Usage:
    return Usage(
        now.input_tokens - before.input_tokens, now.output_tokens - before.output_tokens, now.calls - before.calls
    )
