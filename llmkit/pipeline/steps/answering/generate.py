"""A model answers from the question alone."""

from __future__ import annotations

from typing import ClassVar, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from llmkit import prompts
from llmkit.models.chat import ChatModelSpec
from llmkit.part import Part
from llmkit.pipeline.ask import stream_answer
from llmkit.protocols import Context
from llmkit.types import Answer, State


class Generate(Part):
    """Asks the model without any passages: for writing, classifying, arithmetic, function calls, chat."""

    family: ClassVar[str] = "step"
    type: ClassVar[str] = "generate"
    needs: ClassVar[frozenset[str]] = frozenset({"question"})
    gives: ClassVar[frozenset[str]] = frozenset({"answer"})

    values: dict[str, str] = Field(default_factory=dict)
    """What the prompt's other variables are, as in ``{language: German}``."""
    prompt: str = Field(default="generate@v1", validate_default=True)
    """Prompt with the variable ``question``, and those of `values`."""
    examples: int | None = Field(default=None, ge=0)
    """How many of the prompt's worked examples the model is shown; none: all it has."""
    model: ChatModelSpec | None = None
    """Chat model of this step; the pipeline's where it names none."""

    @field_validator("values", mode="before")
    @classmethod
    def _numbers_are_texts(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        return {name: str(item) if type(item) in (int, float) else item for name, item in value.items()}

    @field_validator("values")
    @classmethod
    def _question_is_asked(cls, value: dict[str, str]) -> dict[str, str]:
        if "question" in value:
            raise ValueError("the variable question is what is asked; it cannot be given")
        return value

    @field_validator("prompt")
    @classmethod
    def _prompt_is_there(cls, value: str, info: ValidationInfo) -> str:
        return prompts.with_variables(value, ("question", *info.data.get("values", {})))

    @model_validator(mode="after")
    def _examples_are_there(self) -> Self:
        prompts.has_examples(self.prompt, self.examples)
        return self

    def run(self, state: State, ctx: Context) -> State:
        """Fill ``state.answer``; earlier turns stand right before the question."""
        messages = ctx.prompt(self.prompt).render({**self.values, "question": state.question}, self.examples)
        messages = [*messages[:-1], *state.history, messages[-1]]
        ctx.record(messages=[[m.role, m.content] for m in messages])
        reply = stream_answer(ctx.model(self.model), messages, ctx)
        ctx.record(raw=reply.text)
        return state.replace(answer=Answer(reply.text, finish_reason=reply.finish_reason))

    def filled(self, state: State) -> dict[str, str]:
        """What the prompt's variables were filled with, read from the state a run left."""
        return {**self.values, "question": state.question}
