"""Step ``generate``: a chat model answers from the question alone."""

from __future__ import annotations

from typing import ClassVar, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from llmkit import prompts
from llmkit.models.chat import ChatModelSpec
from llmkit.part import Part
from llmkit.pipeline.steps.model_calls import stream_answer
from llmkit.prompts import PromptRef
from llmkit.protocols import Context
from llmkit.types import Answer, State


class Generate(Part):
    """Asks the model without any passages: for writing, classifying, arithmetic, function calls, chat."""

    family: ClassVar[str] = "step"
    type: ClassVar[str] = "generate"
    needs: ClassVar[frozenset[str]] = frozenset({"question"})
    gives: ClassVar[frozenset[str]] = frozenset({"answer"})

    values: dict[str, str] = Field(default_factory=dict)
    """Values of the prompt's other variables, as in ``{language: German}``."""
    prompt: str = Field(default="generate@v1", validate_default=True)
    """Prompt with the variable ``question`` and the variables named in `values`."""
    examples: int | None = Field(default=None, ge=0)
    """How many of the prompt's worked examples the model is shown; null: all of them."""
    model: ChatModelSpec | None = None
    """Chat model of this step; null: the pipeline's."""

    @field_validator("values", mode="before")
    @classmethod
    def _numbers_to_text(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        return {name: str(item) if type(item) in (int, float) else item for name, item in value.items()}

    @field_validator("values")
    @classmethod
    def _without_question(cls, value: dict[str, str]) -> dict[str, str]:
        if "question" in value:
            raise ValueError("the variable question is filled with the question of the run: leave it out of values")
        return value

    @field_validator("prompt")
    @classmethod
    def _check_prompt(cls, value: str, info: ValidationInfo) -> str:
        return PromptRef("question", *info.data.get("values", {})).check(value)

    @model_validator(mode="after")
    def _check_examples(self) -> Self:
        prompts.check_examples(self.prompt, self.examples)
        return self

    def run(self, state: State, ctx: Context) -> State:
        """Fill ``state.answer``; the turns of the history go right before the question."""
        rendered = ctx.prompt(self.prompt).render({**self.values, "question": state.question}, self.examples)
        messages = [*rendered[:-1], *state.history, rendered[-1]]
        ctx.record(messages=[[m.role, m.content] for m in messages])
        reply = stream_answer(ctx.model(self.model), messages, ctx)
        ctx.record(raw=reply.text)
        return state.replace(answer=Answer(reply.text, finish_reason=reply.finish_reason))

    def prompt_variables(self, state: State) -> dict[str, str]:
        """The values of the prompt's variables in a finished run, read from its state."""
        return {**self.values, "question": state.question}
