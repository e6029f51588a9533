"""A model answers from the question alone."""

from __future__ import annotations

from typing import ClassVar

from pydantic import field_validator

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
    model: ChatModelSpec | None = None
    """Chat model of this step; the pipeline's where it names none."""

    @field_validator("prompt")
    @classmethod
    def _prompt_is_there(cls, value: str) -> str:
        return prompts.with_variables(value, ("question",))

    def run(self, state: State, ctx: Context) -> State:
        """Fill ``state.answer``; earlier turns stand between the system message and the question."""
        messages = ctx.prompt(self.prompt).render({"question": state.question})
        head = [message for message in messages if message.role == "system"]
        messages = [*head, *state.history, *(message for message in messages if message.role != "system")]
        text = ask(ctx.model(self.model), messages, ctx)
        ctx.record(messages=[[m.role, m.content] for m in messages], raw=text)
        return state.replace(answer=Answer(text))
