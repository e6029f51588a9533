"""Step ``refine``: feedback, revision, stop (Self-Refine, Madaan et al. 2023, arXiv 2303.17651)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

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
from llmkit.registry import one_of
from llmkit.types import State


class Refine(Part):
    """Improves the answer: verifiers and a critic judge it, the model revises it, and the best round is kept."""

    family: ClassVar[str] = "step"
    type: ClassVar[str] = "refine"
    reads: ClassVar[dict[str, Output]] = {"feedback": "form"}
    needs: ClassVar[frozenset[str]] = frozenset({"question", "answer"})
    gives: ClassVar[frozenset[str]] = frozenset({"answer"})

    verifiers: tuple[Annotated[Verifier, one_of("verifier")], ...] = ()
    """Rules that judge a draft; the mean of their scores is its score."""
    feedback: Annotated[str, PromptRef("draft", optional=["question", "passages"])] | None = "feedback@v1"
    """Prompt of the critic, with question and draft; null: only verifiers judge."""
    revise: Annotated[str, PromptRef("feedback", optional=["draft", "question", "passages", "history"])] = "revise@v1"
    """Prompt of the revision, with feedback; may have draft, question, history and passages."""
    model: ChatModelSpec | None = None
    """Chat model that revises; null: the pipeline's."""
    critic: ChatModelSpec | None = None
    """Chat model of the critic; null: the model that revises."""
    how: Literal["replace", "append"] = "replace"
    """replace: the reply is the new draft; append: the reply is added to the end of the draft."""
    of: Literal["best", "last"] = "last"
    """Which draft is revised: the last one, as in the paper, or the best one so far."""
    history: int = Field(default=3, ge=0)
    """How many earlier rounds the reviser is shown, where its prompt has the variable ``history``."""
    rounds: int = Field(default=3, ge=0, le=100)
    """Maximum number of revisions; 0: the draft is judged and kept, as a baseline."""
    patience: int | None = Field(default=2, ge=1)
    """Rounds in a row without a better score before the loop stops; null: scores do not stop it."""
    max_calls: int | None = Field(default=None, ge=1)
    """Maximum number of model calls of this step."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Tokens in and out. No call begins once they are used."""
    temperature: float | None = Field(default=None, ge=0, le=2)
    """Temperature of revisions; null: the model's own. With 0, the same draft and feedback give the same revision."""
    max_reply: int | None = Field(default=None, ge=1)
    """Maximum tokens of a revision; null: the model's own limit."""
    seed: int | None = 1
    """With a temperature, call n uses seed + n, so that a run can be repeated; null: no seed."""

    @model_validator(mode="after")
    def _check_judges(self) -> Refine:
        if self.feedback is None and not self.verifiers:
            raise ValueError("no judge: give verifiers, or a feedback prompt")
        return self

    def run(self, state: State, ctx: Context) -> State:
        """Replace ``state.answer`` by the draft of the best round; every round goes into the record."""
        if state.answer is None or state.answer.abstained:
            ctx.note("there is no answer to refine")
            return state
        limits = Limits(self.rounds, self.patience, self.max_calls, self.max_tokens)
        calls = ModelCalls(ctx, limits, temperature=self.temperature, seed=self.seed, max_reply_tokens=self.max_reply)

        def judge(draft: str) -> Judgement:
            verdicts = run_verifiers(self.verifiers, draft, state)
            if self.feedback is None or calls.spending.exhausted():
                return Judgement(verdicts)
            reply = calls.try_ask(self.critic or self.model, self.feedback, prompt_values(state, draft=draft))
            return Judgement(verdicts, parse_critique(reply), reply)

        def propose(rounds: Sequence[Round]) -> str:
            base, earlier = self._base(rounds), rounds[max(0, len(rounds) - 1 - self.history) : -1]
            values = prompt_values(
                state, draft=base.draft, feedback=base.judgement.feedback, history=_format_rounds(earlier)
            )
            reply = calls.try_ask(self.model, self.revise, values, state.history, sampled=True)
            return f"{base.draft.rstrip()} {reply}" if self.how == "append" and reply else reply

        result = run_loop(state.answer.text, judge, propose, calls.spending)
        unreadable = sum(
            one.judgement.critic_reply is not None and one.judgement.critique is None for one in result.rounds
        )
        if unreadable:
            ctx.note(
                f"{unreadable} of {len(result.rounds)} critiques could not be read: they are recorded and not used"
            )
        calls.write_record(**result.record)
        return (
            state if result.kept.n == 0 else state.replace(answer=draft_answer(state, result.kept.draft, calls.failure))
        )

    def _base(self, rounds: Sequence[Round]) -> Round:
        drafts = [one for one in rounds if one.draft.strip()] or list(rounds)
        if self.of == "last":
            return drafts[-1]
        return max(drafts, key=lambda one: -1.0 if one.judgement.score is None else one.judgement.score)


def _format_rounds(rounds: Sequence[Round]) -> str:
    """Earlier rounds as text for the reviser."""
    return "\n\n".join(f"Draft {one.n + 1}:\n{one.draft}\nFeedback:\n{one.judgement.feedback}" for one in rounds)
