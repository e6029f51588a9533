"""Many samples instead of one: the majority's answer, or the best by a rule or a judge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

from pydantic import Field, field_validator, model_validator

from llmkit.models.chat import ChatModelSpec
from llmkit.part import Part
from llmkit.pipeline.steps.model_calls import Asking, answered, known_values, verify, with_some
from llmkit.prompts import Output
from llmkit.protocols import Context, Verifier
from llmkit.refine.critique import parse
from llmkit.refine.loop import Judged, Limits, Round, loop
from llmkit.refine.vote import Rule, majority
from llmkit.registry import one_of
from llmkit.types import State

_NAMED = ("question", "passages")


class SelfConsistency(Part):
    """Samples many answers and gives the one that most agree on (Wang et al. 2022, arXiv 2203.11171)."""

    family: ClassVar[str] = "step"
    type: ClassVar[str] = "self-consistency"
    needs: ClassVar[frozenset[str]] = frozenset({"question"})
    gives: ClassVar[frozenset[str]] = frozenset({"answer"})

    prompt: str = "generate@v1"
    """Prompt with the variable ``question``."""
    model: ChatModelSpec | None = None
    """Chat model; the pipeline's where the step names none."""
    samples: int = Field(default=5, ge=1, le=100)
    """How many answers."""
    answer: Rule = "number"
    """What of a sample counts: number, the last one; last-line; label, the one of `labels` that it names."""
    labels: tuple[str, ...] = ()
    """With answer: label, every label there is."""
    temperature: float | None = Field(default=0.7, ge=0, le=2)
    """Of the samples; null: the model's own."""
    seed: int | None = 1
    """Sample n is made with seed + n; null where a server takes none."""

    @property
    def reads(self) -> dict[str, Output]:
        """Which form of reply the vote is taken on; the last line is one of any."""
        return {} if self.answer == "last-line" else {"prompt": self.answer}

    @field_validator("prompt")
    @classmethod
    def _prompt_is_there(cls, value: str) -> str:
        return with_some(value, ("question",), ("passages",))

    @model_validator(mode="after")
    def _has_labels(self) -> SelfConsistency:
        if (self.answer == "label") != bool(self.labels):
            raise ValueError("labels belong to answer: label, and it needs them")
        return self

    def run(self, state: State, ctx: Context) -> State:
        """Fill ``state.answer`` with the first sample that gives the majority's answer."""
        asking = Asking(ctx, Limits(self.samples), temperature=self.temperature, seed=self.seed)
        samples = [
            asking.try_ask(self.model, self.prompt, known_values(state), state.history, sampled=True)
            for _ in range(self.samples)
        ]
        vote = majority(samples, self.answer, self.labels)
        if vote.winner is None:
            ctx.note(f"no sample gives an answer that the rule {self.answer!r} can read: the first one is kept")
        elif vote.unread:
            ctx.note(f"{vote.unread} of {self.samples} samples give no answer that can be read and do not vote")
        asking.close(
            samples=samples, answer=vote.answer, votes=vote.votes, unread=vote.unread, kept=vote.winner or 0,
            confidence=vote.share,
        )  # fmt: skip
        return state.replace(answer=answered(state, next(filter(None, samples[vote.winner or 0 :]), ""), asking.failed))


class BestOfN(Part):
    """Samples many answers, without feedback, and keeps the one that verifiers or a judge score highest."""

    family: ClassVar[str] = "step"
    type: ClassVar[str] = "best-of-n"
    reads: ClassVar[dict[str, Output]] = {"judge": "form"}
    needs: ClassVar[frozenset[str]] = frozenset({"question"})
    gives: ClassVar[frozenset[str]] = frozenset({"answer"})

    prompt: str = "generate@v1"
    """Prompt with the variable ``question``."""
    model: ChatModelSpec | None = None
    """Chat model; the pipeline's where the step names none."""
    samples: int = Field(default=4, ge=1, le=100)
    """How many answers at most; an answer with which nothing is wrong ends the search."""
    verifiers: tuple[Annotated[Verifier, one_of("verifier")], ...] = ()
    """Rules that score a sample; their mean counts."""
    judge: str | None = None
    """Without verifiers: prompt of a judge with question and draft, whose SCORE counts, as in feedback@v1."""
    critic: ChatModelSpec | None = None
    """Chat model that judges; the one that answers where none is named."""
    temperature: float | None = Field(default=0.7, ge=0, le=2)
    """Of the samples after the first, which is taken with the model's own; null: the model's own for all."""
    seed: int | None = 1
    """Sample n is made with seed + n; null where a server takes none."""

    @field_validator("prompt")
    @classmethod
    def _prompt_is_there(cls, value: str) -> str:
        return with_some(value, ("question",), ("passages",))

    @field_validator("judge")
    @classmethod
    def _judge_is_there(cls, value: str | None) -> str | None:
        return value and with_some(value, ("draft",), _NAMED)

    @model_validator(mode="after")
    def _somebody_judges(self) -> BestOfN:
        if bool(self.verifiers) == (self.judge is not None):
            raise ValueError("give either verifiers or a judge's prompt")
        return self

    def run(self, state: State, ctx: Context) -> State:
        """Fill ``state.answer`` with the sample of the highest score, of equals the first."""
        limits = Limits(self.samples - 1, needs_critique=False)
        asking = Asking(ctx, limits, temperature=self.temperature, seed=self.seed)

        def judge(draft: str) -> Judged:
            if self.judge is None:
                return Judged(verify(self.verifiers, draft, state))
            said = asking.try_ask(self.critic or self.model, self.judge, known_values(state, draft=draft))
            return Judged(critique=parse(said), said=said)

        def propose(rounds: Sequence[Round]) -> str:
            return asking.try_ask(self.model, self.prompt, known_values(state), state.history, sampled=True)

        first = asking.try_ask(self.model, self.prompt, known_values(state), state.history)
        found = loop(first, judge, propose, asking.spent)
        asking.close(**found.record)
        return state.replace(answer=answered(state, found.kept.draft, asking.failed))
