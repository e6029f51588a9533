"""Step ``reflexion``: retry with a memory of failures (Reflexion, Shinn et al. 2023, arXiv 2303.11366)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

from pydantic import Field

from llmkit.models.chat import ChatModelSpec
from llmkit.part import Part
from llmkit.pipeline.steps.answering.answer import draft_answer
from llmkit.pipeline.steps.model_calls import ModelCalls, prompt_values
from llmkit.pipeline.verifiers.verify import run_verifiers
from llmkit.prompts import PromptRef
from llmkit.protocols import Context, Verifier
from llmkit.refine.loop import Judgement, Limits, Round, run_loop
from llmkit.registry import one_of
from llmkit.types import State


class Reflexion(Part):
    """Tries again from the beginning, each time with the lessons that the model drew from its failures."""

    family: ClassVar[str] = "step"
    type: ClassVar[str] = "reflexion"
    needs: ClassVar[frozenset[str]] = frozenset({"question", "answer"})
    gives: ClassVar[frozenset[str]] = frozenset({"answer"})

    verifiers: tuple[Annotated[Verifier, one_of("verifier")], ...] = Field(min_length=1)
    """Rules that say whether an attempt failed, and how."""
    reflect: Annotated[str, PromptRef("draft", "feedback", optional=["question", "passages"])] = "reflect@v1"
    """Prompt that draws a lesson, with draft and feedback; may have question and passages."""
    retry: Annotated[str, PromptRef("question", "memory", optional=["passages"])] = "retry@v1"
    """Prompt of the next attempt, with question and memory; may have passages."""
    model: ChatModelSpec | None = None
    """Chat model; null: the pipeline's."""
    memory: int = Field(default=3, ge=1)
    """How many of the newest lessons are kept."""
    tries: int = Field(default=3, ge=1, le=100)
    """Maximum number of further attempts; each takes two calls."""
    max_calls: int | None = Field(default=None, ge=1)
    """Maximum number of model calls of this step."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Tokens in and out. No attempt begins once they are used."""
    temperature: float | None = Field(default=None, ge=0, le=2)
    """Temperature of attempts; null: the model's own."""
    seed: int | None = 1
    """With a temperature, call n uses seed + n; null: no seed, for servers that do not accept one."""

    def run(self, state: State, ctx: Context) -> State:
        """Replace ``state.answer`` by the best attempt; every attempt and lesson goes into the record."""
        if state.answer is None or state.answer.abstained:
            ctx.note("there is no answer to try again")
            return state
        limits = Limits(self.tries, calls=self.max_calls, tokens=self.max_tokens, cost=2)
        calls = ModelCalls(ctx, limits, temperature=self.temperature, seed=self.seed)
        lessons: list[str] = []

        def judge(draft: str) -> Judgement:
            return Judgement(run_verifiers(self.verifiers, draft, state))

        def propose(rounds: Sequence[Round]) -> str:
            last = rounds[-1]
            values = prompt_values(state, draft=last.draft, feedback=last.judgement.feedback or "There was no reply.")
            lessons.append(calls.try_ask(self.model, self.reflect, values))
            memory = "\n".join(f"- {lesson}" for lesson in lessons[-self.memory :] if lesson)
            return calls.try_ask(
                self.model, self.retry, prompt_values(state, memory=memory), state.history, sampled=True
            )

        result = run_loop(state.answer.text, judge, propose, calls.spending)
        calls.write_record(**result.record, lessons=lessons)
        return (
            state if result.kept.n == 0 else state.replace(answer=draft_answer(state, result.kept.draft, calls.failure))
        )
