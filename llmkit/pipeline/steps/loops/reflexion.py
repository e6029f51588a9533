"""Retry with a memory of failures (Reflexion, Shinn et al. 2023, arXiv 2303.11366), as a step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

from pydantic import Field, field_validator

from llmkit.models.chat import ChatModelSpec
from llmkit.part import Part
from llmkit.pipeline.steps.model_calls import Asking, answered, known_values, verify, with_some
from llmkit.protocols import Context, Verifier
from llmkit.refine.loop import Judged, Limits, Round, loop
from llmkit.registry import one_of
from llmkit.types import State


class Reflexion(Part):
    """Tries again from the beginning, each time with the lessons the model drew from its failures."""

    family: ClassVar[str] = "step"
    type: ClassVar[str] = "reflexion"
    needs: ClassVar[frozenset[str]] = frozenset({"question", "answer"})
    gives: ClassVar[frozenset[str]] = frozenset({"answer"})

    verifiers: tuple[Annotated[Verifier, one_of("verifier")], ...] = Field(min_length=1)
    """Rules that say whether a try has failed, and how."""
    reflect: str = "reflect@v1"
    """Prompt that draws a lesson, with question, draft and feedback."""
    retry: str = "retry@v1"
    """Prompt of the next try, with question and memory."""
    model: ChatModelSpec | None = None
    """Chat model; the pipeline's where the step names none."""
    memory: int = Field(default=3, ge=1)
    """How many lessons are kept, the newest."""
    tries: int = Field(default=3, ge=1, le=100)
    """Further tries at most; each takes two calls."""
    max_calls: int | None = Field(default=None, ge=1)
    """Calls of models this step may make."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Tokens in and out; no try begins once they are spent."""
    temperature: float | None = Field(default=None, ge=0, le=2)
    """Of tries; null: the model's own."""
    seed: int | None = 1
    """With a temperature: call n is made with seed + n; null where a server takes none."""

    @field_validator("reflect")
    @classmethod
    def _reflect_is_there(cls, value: str) -> str:
        return with_some(value, ("draft", "feedback"), ("question", "passages"))

    @field_validator("retry")
    @classmethod
    def _retry_is_there(cls, value: str) -> str:
        return with_some(value, ("question", "memory"), ("passages",))

    def run(self, state: State, ctx: Context) -> State:
        """Replace ``state.answer`` by the best try; every try and lesson goes into the record."""
        if state.answer is None or state.answer.abstained:
            ctx.note("there is no answer to try again")
            return state
        limits = Limits(self.tries, calls=self.max_calls, tokens=self.max_tokens, cost=2)
        asking = Asking(ctx, limits, temperature=self.temperature, seed=self.seed)
        lessons: list[str] = []

        def judge(draft: str) -> Judged:
            return Judged(verify(self.verifiers, draft, state))

        def propose(rounds: Sequence[Round]) -> str:
            last = rounds[-1]
            values = known_values(state, draft=last.draft, feedback=last.judged.feedback or "There was no reply.")
            lessons.append(asking.try_ask(self.model, self.reflect, values))
            memory = "\n".join(f"- {lesson}" for lesson in lessons[-self.memory :] if lesson)
            return asking.try_ask(
                self.model, self.retry, known_values(state, memory=memory), state.history, sampled=True
            )

        found = loop(state.answer.text, judge, propose, asking.spent)
        asking.close(**found.record, lessons=lessons)
        return state if found.kept.n == 0 else state.replace(answer=answered(state, found.kept.draft, asking.failed))
