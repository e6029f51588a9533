"""Step ``condense``: rewrites a follow-up question so that it can be searched for without its conversation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from llmkit import prompts
from llmkit.errors import ReplyError
from llmkit.models.chat import ChatModelSpec
from llmkit.part import Part
from llmkit.pipeline.steps.model_calls import ask_quietly
from llmkit.prompts import PromptRef
from llmkit.protocols import Context
from llmkit.types import Message, State

_MAX_GROWTH = 4  # a reply longer than this many times the question and the one before it is no rewritten question


class Condense(Part):
    """Replaces a follow-up question by one that stands alone. The first question of a conversation is not changed."""

    family: ClassVar[str] = "step"
    type: ClassVar[str] = "condense"
    reads: ClassVar[dict[str, prompts.Output]] = {"prompt": "text"}
    needs: ClassVar[frozenset[str]] = frozenset({"question"})
    gives: ClassVar[frozenset[str]] = frozenset({"question"})

    by: Literal["words", "model"] = "words"
    """words: earlier questions are put in front of it, without a model; model: a chat model rewrites it."""
    turns: int = Field(default=1, ge=1)
    """With words, how many earlier questions are put in front; with model, how many turns the model is shown."""
    prompt: Annotated[str, PromptRef("conversation", "question")] = "condense@v1"
    """Prompt with the variables ``conversation`` and ``question``."""
    model: ChatModelSpec | None = None
    """Chat model of this step; null: the pipeline's."""

    def run(self, state: State, ctx: Context) -> State:
        """Replace ``state.question``; the original question goes into the record."""
        if not any(turn.role == "user" for turn in state.history):
            return state
        question = self._rewrite(state, ctx) if self.by == "model" else self._prepend_earlier(state)
        ctx.record(asked=state.question, condensed=question)
        return state.replace(question=question)

    def _prepend_earlier(self, state: State) -> str:
        earlier = [turn.content.strip() for turn in state.history if turn.role == "user"]
        return " ".join([*earlier[-self.turns :], state.question])

    def _rewrite(self, state: State, ctx: Context) -> str:
        recent = state.history[-2 * self.turns :]
        values = {"conversation": format_turns(recent), "question": state.question}
        try:
            reply = ask_quietly(ctx.model(self.model), ctx.prompt(self.prompt).render(values), ctx).text
        except ReplyError as error:
            ctx.note(f"the follow-up question is searched for as it was asked: {error}")
            return state.question
        line = reply.strip('"').strip()
        longest = max((len(turn.content) for turn in recent if turn.role == "user"), default=0)
        if not line or "\n" in line or len(line) > _MAX_GROWTH * (len(state.question) + longest):
            ctx.note("the model did not rewrite the follow-up question: the question is searched for as it was asked")
            ctx.record(raw=reply)
            return state.question
        return line


def format_turns(turns: Sequence[Message]) -> str:
    """Turns as text: ``User: …``, ``Assistant: …``."""
    return "\n".join(f"{turn.role.capitalize()}: {' '.join(turn.content.split())}" for turn in turns)
