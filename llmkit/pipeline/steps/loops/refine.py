"""Self-Refine as a step: feedback, revision, stop (Madaan et al. 2023, arXiv 2303.17651)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from llmkit.models.chat import ChatModelSpec
from llmkit.part import Part
from llmkit.pipeline.steps.model_calls import Asking, answered, known_values, verify, with_some
from llmkit.prompts import Output
from llmkit.protocols import Context, Verifier
from llmkit.refine.critique import parse
from llmkit.refine.loop import Judged, Limits, Round, loop
from llmkit.registry import one_of
from llmkit.types import State


class Refine(Part):
    """Mends the answer: verifiers and a critic say what is wrong, the model revises, the best round is kept."""

    family: ClassVar[str] = "step"
    type: ClassVar[str] = "refine"
    reads: ClassVar[dict[str, Output]] = {"feedback": "form"}
    needs: ClassVar[frozenset[str]] = frozenset({"question", "answer"})
    gives: ClassVar[frozenset[str]] = frozenset({"answer"})

    verifiers: tuple[Annotated[Verifier, one_of("verifier")], ...] = ()
    """Rules that judge a draft; their mean is the score."""
    feedback: str | None = "feedback@v1"
    """Prompt of the critic, with question and draft; null: verifiers alone."""
    revise: str = "revise@v1"
    """Prompt of the reviser, with feedback, and if it likes draft, question, history and passages."""
    model: ChatModelSpec | None = None
    """Chat model that revises; the pipeline's where the step names none."""
    critic: ChatModelSpec | None = None
    """Chat model that criticises; the one that revises where none is named."""
    how: Literal["replace", "append"] = "replace"
    """replace: the reply is the new draft; append: it is put behind the draft it mends."""
    of: Literal["best", "last"] = "last"
    """Which draft is revised: the last one, as in the paper, or the best so far."""
    history: int = Field(default=3, ge=0)
    """How many earlier rounds the reviser is shown, where its prompt has $history."""
    rounds: int = Field(default=3, ge=0, le=100)
    """Revisions at most; 0: the draft is judged and kept, which is the base to compare with."""
    patience: int | None = Field(default=2, ge=1)
    """Rounds in a row without a better score before it stops; null: they do not matter."""
    max_calls: int | None = Field(default=None, ge=1)
    """Calls of models this step may make."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Tokens in and out; no call begins once they are spent."""
    temperature: float | None = Field(default=None, ge=0, le=2)
    """Of revisions; null: the model's own. With 0, the same draft and feedback give the same revision."""
    max_reply: int | None = Field(default=None, ge=1)
    """Longest revision in tokens; null: the model's own."""
    seed: int | None = 1
    """With a temperature: call n is made with seed + n, so that a run can be repeated; null: without a seed."""

    @model_validator(mode="after")
    def _somebody_judges(self) -> Refine:
        if self.feedback is None and not self.verifiers:
            raise ValueError("nobody judges: give verifiers, or a feedback prompt")
        return self

    @field_validator("feedback")
    @classmethod
    def _feedback_is_there(cls, value: str | None) -> str | None:
        return value and with_some(value, ("draft",), ("question", "passages"))

    @field_validator("revise")
    @classmethod
    def _revise_is_there(cls, value: str) -> str:
        return with_some(value, ("feedback",), ("draft", "question", "passages", "history"))

    def run(self, state: State, ctx: Context) -> State:
        """Replace ``state.answer`` by the best round's draft; every round goes into the record."""
        if state.answer is None or state.answer.abstained:
            ctx.note("there is no answer to refine")
            return state
        limits = Limits(self.rounds, self.patience, self.max_calls, self.max_tokens)
        asking = Asking(ctx, limits, temperature=self.temperature, seed=self.seed, most=self.max_reply)

        def judge(draft: str) -> Judged:
            verdicts = verify(self.verifiers, draft, state)
            if self.feedback is None or asking.spent.over():
                return Judged(verdicts)
            said = asking.try_ask(self.critic or self.model, self.feedback, known_values(state, draft=draft))
            return Judged(verdicts, parse(said), said)

        def propose(rounds: Sequence[Round]) -> str:
            base, earlier = self._base(rounds), rounds[max(0, len(rounds) - 1 - self.history) : -1]
            values = known_values(state, draft=base.draft, feedback=base.judged.feedback, history=_told(earlier))
            said = asking.try_ask(self.model, self.revise, values, state.history, sampled=True)
            return f"{base.draft.rstrip()} {said}" if self.how == "append" and said else said

        found = loop(state.answer.text, judge, propose, asking.spent)
        unread = sum(one.judged.said is not None and one.judged.critique is None for one in found.rounds)
        if unread:
            ctx.note(
                f"{unread} of {len(found.rounds)} critiques could not be read: they are recorded and changed nothing"
            )
        asking.close(**found.record)
        return state if found.kept.n == 0 else state.replace(answer=answered(state, found.kept.draft, asking.failed))

    def _base(self, rounds: Sequence[Round]) -> Round:
        drafts = [one for one in rounds if one.draft.strip()] or list(rounds)
        if self.of == "last":
            return drafts[-1]
        return max(drafts, key=lambda one: -1.0 if one.judged.score is None else one.judged.score)


def _told(rounds: Sequence[Round]) -> str:
    """Earlier rounds for the reviser."""
    return "\n\n".join(f"Draft {one.n + 1}:\n{one.draft}\nFeedback:\n{one.judged.feedback}" for one in rounds)
