"""A follow-up question made to stand on its own, so that retrieval can find what it is about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field, field_validator

from llmkit import prompts
from llmkit.errors import ReplyError
from llmkit.models.chat import ChatModelSpec
from llmkit.part import Part
from llmkit.pipeline.ask import ask_quietly
from llmkit.protocols import Context
from llmkit.types import Message, State

_LONGEST = 4  # times as long as the question and the one before it: beyond that it is no rewritten question


class Condense(Part):
    """Puts a question that stands alone in place of a follow-up; a conversation's first question stays as it is."""

    family: ClassVar[str] = "step"
    type: ClassVar[str] = "condense"
    reads: ClassVar[dict[str, prompts.Output]] = {"prompt": "text"}
    needs: ClassVar[frozenset[str]] = frozenset({"question"})
    gives: ClassVar[frozenset[str]] = frozenset({"question"})

    by: Literal["words", "model"] = "words"
    """words: the questions before it are put in front of it, no model is asked; model: a chat model rewrites it."""
    turns: int = Field(default=1, ge=1)
    """How many earlier questions are put in front, by words; how many turns the model is shown."""
    prompt: str = "condense@v1"
    """Prompt with the variables ``conversation`` and ``question``."""
    model: ChatModelSpec | None = None
    """Chat model of this step; the pipeline's where it names none."""

    @field_validator("prompt")
    @classmethod
    def _prompt_is_there(cls, value: str) -> str:
        return prompts.with_variables(value, ("conversation", "question"))

    def run(self, state: State, ctx: Context) -> State:
        """Change ``state.question``; what was asked stays in the record."""
        if not any(turn.role == "user" for turn in state.history):
            return state
        question = self._by_model(state, ctx) if self.by == "model" else self._by_words(state)
        ctx.record(asked=state.question, condensed=question)
        return state.replace(question=question)

    def _by_words(self, state: State) -> str:
        asked = [turn.content.strip() for turn in state.history if turn.role == "user"]
        return " ".join([*asked[-self.turns :], state.question])

    def _by_model(self, state: State, ctx: Context) -> str:
        recent = state.history[-2 * self.turns :]
        values = {"conversation": spoken(recent), "question": state.question}
        try:
            said = ask_quietly(ctx.model(self.model), ctx.prompt(self.prompt).render(values), ctx).text
        except ReplyError as error:
            ctx.note(f"the follow-up question is searched for as it was asked: {error}")
            return state.question
        line = said.strip('"').strip()
        before = max((len(turn.content) for turn in recent if turn.role == "user"), default=0)
        if not line or "\n" in line or len(line) > _LONGEST * (len(state.question) + before):
            ctx.note("the model did not rewrite the follow-up question: it is searched for as it was asked")
            ctx.record(raw=said)
            return state.question
        return line


def spoken(turns: Sequence[Message]) -> str:
    """Turns as text: ``User: …``, ``Assistant: …``."""
    return "\n".join(f"{turn.role.capitalize()}: {' '.join(turn.content.split())}" for turn in turns)
