"""A model answers from the question alone."""

from __future__ import annotations

from typing import ClassVar, Self

from pydantic import Field, field_validator, model_validator

from llmkit import prompts
from llmkit.models.chat import ChatModelSpec
from llmkit.part import Part
from llmkit.pipeline.answer import ask
from llmkit.protocols import Context
from llmkit.types import Answer, State


class Generate(Part):
    """Asks the model without any passages: for writing, classifying, arithmetic, function calls, chat."""

    family: ClassVar[str] = "step"
    type: ClassVar[str] = "generate"
    needs: ClassVar[frozenset[str]] = frozenset({"question"})
    gives: ClassVar[frozenset[str]] = frozenset({"answer"})

    prompt: str = "generate@v1"
    """Prompt with the variable ``question``."""
    examples: int | None = Field(default=None, ge=0)
    """How many of the prompt's worked examples the model is shown; none: all it has."""
    model: ChatModelSpec | None = None
    """Chat model of this step; the pipeline's where it names none."""

    @field_validator("prompt")
    @classmethod
    def _prompt_is_there(cls, value: str) -> str:
        return prompts.with_variables(value, ("question",))

    @model_validator(mode="after")
    def _examples_are_there(self) -> Self:
        prompts.has_examples(self.prompt, self.examples)
        return self

    def run(self, state: State, ctx: Context) -> State:
        """Fill ``state.answer``; earlier turns stand right before the question."""
        messages = ctx.prompt(self.prompt).render({"question": state.question}, self.examples)
        messages = [*messages[:-1], *state.history, messages[-1]]
        text = ask(ctx.model(self.model), messages, ctx)
        ctx.record(messages=[[m.role, m.content] for m in messages], raw=text)
        return state.replace(answer=Answer(text))

    def filled(self, state: State) -> dict[str, str]:
        """What the prompt's variables were filled with, read from the state a run left."""
        return {"question": state.question}
