"""Steps ``self-consistency`` and ``best-of-n``: many samples, of which a vote, a rule or a judge picks one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from llmkit.models.chat import ChatModelSpec
from llmkit.part import Part
from llmkit.pipeline.steps.answering.answer import draft_answer
from llmkit.pipeline.steps.model_calls import ModelCalls, prompt_values
from llmkit.pipeline.verifiers.verify import run_verifiers
from llmkit.prompts import Output, PromptRef
from llmkit.protocols import Context, Verifier
from llmkit.refine.critique import parse_critique
from llmkit.refine.loop import Judgement, Limits, Round, run_loop
from llmkit.refine.vote import Rule, majority_vote
from llmkit.registry import one_of
from llmkit.types import State

_AnswerPrompt = Annotated[str, PromptRef("question", optional=["passages"])]


class SelfConsistency(Part):
    """Samples many answers and keeps the one that most samples agree on (Wang et al. 2022, arXiv 2203.11171)."""

    family: ClassVar[str] = "step"
    type: ClassVar[str] = "self-consistency"
    needs: ClassVar[frozenset[str]] = frozenset({"question"})
    gives: ClassVar[frozenset[str]] = frozenset({"answer"})

    prompt: _AnswerPrompt = "generate@v1"
    """Prompt with the variable ``question``; may have ``passages``."""
    model: ChatModelSpec | None = None
    """Chat model; null: the pipeline's."""
    samples: int = Field(default=5, ge=1, le=100)
    """Number of answers to sample."""
    answer: Rule = "number"
    """What the vote counts: number (the last one in the sample), last-line, or label (the one of `labels` it names)."""
    labels: tuple[str, ...] = ()
    """All labels, with ``answer: label``."""
    temperature: float | None = Field(default=0.7, ge=0, le=2)
    """Temperature of the samples; null: the model's own."""
    seed: int | None = 1
    """Sample n uses seed + n; null: no seed, for servers that do not accept one."""

    @property
    def reads(self) -> dict[str, Output]:
        """The form of reply that the vote reads; any text has a last line."""
        return {} if self.answer == "last-line" else {"prompt": self.answer}

    @model_validator(mode="after")
    def _check_labels(self) -> SelfConsistency:
        if (self.answer == "label") != bool(self.labels):
            raise ValueError("labels are needed with answer: label, and only there")
        return self

    def run(self, state: State, ctx: Context) -> State:
        """Fill ``state.answer`` with the first sample that gives the majority's answer."""
        calls = ModelCalls(ctx, Limits(self.samples), temperature=self.temperature, seed=self.seed)
        samples = [
            calls.try_ask(self.model, self.prompt, prompt_values(state), state.history, sampled=True)
            for _ in range(self.samples)
        ]
        vote = majority_vote(samples, self.answer, self.labels)
        if vote.winner is None:
            ctx.note(f"the rule {self.answer!r} can read no answer in any sample: the first sample is kept")
        elif vote.unreadable:
            ctx.note(f"{vote.unreadable} of {self.samples} samples have no readable answer and do not vote")
        calls.write_record(
            samples=samples,
            answer=vote.answer,
            votes=vote.votes,
            unread=vote.unreadable,
            kept=vote.winner or 0,
            confidence=vote.share,
        )
        kept = next(filter(None, samples[vote.winner or 0 :]), "")
        return state.replace(answer=draft_answer(state, kept, calls.failure))


class BestOfN(Part):
    """Samples many answers without feedback and keeps the one that verifiers or a judge score highest."""

    family: ClassVar[str] = "step"
    type: ClassVar[str] = "best-of-n"
    reads: ClassVar[dict[str, Output]] = {"judge": "form"}
    needs: ClassVar[frozenset[str]] = frozenset({"question"})
    gives: ClassVar[frozenset[str]] = frozenset({"answer"})

    prompt: _AnswerPrompt = "generate@v1"
    """Prompt with the variable ``question``; may have ``passages``."""
    model: ChatModelSpec | None = None
    """Chat model; null: the pipeline's."""
    samples: int = Field(default=4, ge=1, le=100)
    """Maximum number of answers; an answer that is fully accepted ends the search."""
    verifiers: tuple[Annotated[Verifier, one_of("verifier")], ...] = ()
    """Rules that score a sample; the mean of their scores counts."""
    judge: Annotated[str, PromptRef("draft", optional=["question", "passages"])] | None = None
    """Without verifiers: prompt of a judge, with question and draft, whose SCORE counts, as in feedback@v1."""
    critic: ChatModelSpec | None = None
    """Chat model of the judge; null: the model that answers."""
    temperature: float | None = Field(default=0.7, ge=0, le=2)
    """Temperature of all samples but the first, which uses the model's own; null: the model's own for all."""
    seed: int | None = 1
    """Sample n uses seed + n; null: no seed, for servers that do not accept one."""

    @model_validator(mode="after")
    def _check_judges(self) -> BestOfN:
        if bool(self.verifiers) == (self.judge is not None):
            raise ValueError("give either verifiers or a judge's prompt")
        return self

    def run(self, state: State, ctx: Context) -> State:
        """Fill ``state.answer`` with the sample of the highest score; of equal scores the first."""
        limits = Limits(self.samples - 1, needs_critique=False)
        calls = ModelCalls(ctx, limits, temperature=self.temperature, seed=self.seed)

        def judge(draft: str) -> Judgement:
            if self.judge is None:
                return Judgement(run_verifiers(self.verifiers, draft, state))
            reply = calls.try_ask(self.critic or self.model, self.judge, prompt_values(state, draft=draft))
            return Judgement(critique=parse_critique(reply), critic_reply=reply)

        def propose(rounds: Sequence[Round]) -> str:
            return calls.try_ask(self.model, self.prompt, prompt_values(state), state.history, sampled=True)

        first = calls.try_ask(self.model, self.prompt, prompt_values(state), state.history)
        result = run_loop(first, judge, propose, calls.spending)
        calls.write_record(**result.record)
        return state.replace(answer=draft_answer(state, result.kept.draft, calls.failure))
