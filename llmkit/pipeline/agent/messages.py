"""The messages of an agent: made from a question and its history, remembered, fitted to the model's window."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

from llmkit.agents.tool import Tool
from llmkit.models import tool_protocol
from llmkit.models.chat import context_window, count_tokens
from llmkit.prompts import Prompt
from llmkit.protocols import Context
from llmkit.types import Chunk, Hit, State

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

_LEFT_OUT = "(This earlier result is left out, the conversation is too long. Call the tool again where it is needed.)"
RECALLED = "recalled"
"""Mark of a turn whose calls and results are not known any more."""
_OLDER = "older"  # how many turns before a recalled history are not in it
_MADE_OF = {"system": SystemMessage, "user": HumanMessage, "assistant": AIMessage}


def asked(prompt: Prompt, question: str) -> tuple[str, HumanMessage]:
    """The system text, and the question as a message that remembers how it was asked."""
    turns = prompt.render({"question": question})
    system = "\n\n".join(turn.content for turn in turns if turn.role == "system")
    text = "\n\n".join(turn.content for turn in turns if turn.role != "system")
    return system, HumanMessage(text, additional_kwargs={"question": question})


def remembered(saver: Any, thread: str) -> list[Any]:
    """The messages of a conversation; none where there is none."""
    known = saver.get_tuple({"configurable": {"thread_id": thread}})
    return list(known.checkpoint["channel_values"].get("messages", ())) if known is not None else []


def recalled(saver: Any, thread: str, saved: Sequence[Any], state: State, ctx: Context) -> list[Any]:
    """What stands before the question: nothing where the memory has the turns of the history, else the history.

    The history is the truth: where a turn was taken back, or another process went on, the memory is begun anew.
    """
    said = [turn.content for turn in state.history if turn.role == "user"]
    known = [one for one in saved if one.type == "human"]
    questions = [one.additional_kwargs.get("question", one.text) for one in known]
    older = saved[0].additional_kwargs.get(_OLDER, 0) if saved else 0
    turns = ctx.caller.turns
    whole = bool(saved) and isinstance(saved[-1], AIMessage) and not saved[-1].tool_calls
    if whole and turns in (None, older + len(known)) and said == questions[len(questions) - len(said) :]:
        return []
    if saved:
        saver.delete_thread(thread)
        if said != questions[len(questions) - len(said) :] or turns == 0:
            ctx.note("the agent's memory of this conversation differs from its turns: it is begun anew from them")
    marks = {RECALLED: True, _OLDER: max(0, (turns or 0) - len(said))}
    return [_MADE_OF[turn.role](turn.content, additional_kwargs=dict(marks)) for turn in state.history]


def waits_for(saved: Sequence[Any]) -> str:
    """The last question of a conversation."""
    asked_last = [one for one in saved if one.type == "human"]
    return str(asked_last[-1].additional_kwargs.get("question", "")) if asked_last else ""


def hits_of(messages: Sequence[Any]) -> tuple[Hit, ...]:
    """The passages of all results, in the order of their numbers."""
    found: list[tuple[int, Hit]] = []
    for one in messages:
        artifact = one.artifact if isinstance(one, ToolMessage) else None
        if isinstance(artifact, dict):
            found += [(artifact["first"] + n, _hit(row)) for n, row in enumerate(artifact.get("hits", ()))]
    return tuple(hit for _, hit in sorted(found, key=lambda pair: pair[0]))


def _hit(row: dict[str, Any]) -> Hit:
    chunk = row["chunk"]
    whole = {**chunk, "heading": tuple(chunk["heading"]), "access": tuple(chunk["access"])}
    return Hit(Chunk(**whole), row["score"], row["scores"])


def fitted(model: BaseChatModel, system: str, messages: Sequence[Any], tools: Sequence[Tool]) -> tuple[list[Any], int]:
    """The messages, with so many old results left out that they fit the model's window; and how many.

    The last result stays: what does not fit even so is refused by the model.
    """
    window = context_window(model)
    fits = list(messages)
    if window is None:
        return fits, 0
    most = window - (getattr(model, "max_tokens", None) or 512)
    specs = [tool.spec() for tool in tools]
    old = [n for n, one in enumerate(fits) if isinstance(one, ToolMessage)][:-1]
    for left_out, n in enumerate(old):
        if count_tokens(model, tool_protocol.turns([SystemMessage(system), *fits], specs)) <= most:
            return fits, left_out
        fits[n] = fits[n].model_copy(update={"content": _LEFT_OUT})
    return fits, len(old)
