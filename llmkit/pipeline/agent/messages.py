"""The messages of an agent: built from a question and its history, loaded from memory, fitted to the model's window."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

from llmkit.agents.tool import Tool
from llmkit.models import tool_protocol
from llmkit.models.chat import context_window, count_tokens
from llmkit.protocols import Context, PromptTemplate
from llmkit.types import Chunk, Hit, State

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

_LEFT_OUT = "(This earlier result is left out, the conversation is too long. Call the tool again where it is needed.)"
RECALLED = "recalled"
"""Mark of a turn that was rebuilt from the history: its calls and results are not known."""
_OLDER = "older"  # number of turns before the first one of a rebuilt history
_MESSAGE_TYPES = {"system": SystemMessage, "user": HumanMessage, "assistant": AIMessage}


def render_question(prompt: PromptTemplate, question: str) -> tuple[str, HumanMessage]:
    """The system text and the question as a message, which keeps the original question beside the prompt's wording."""
    turns = prompt.render({"question": question})
    system = "\n\n".join(turn.content for turn in turns if turn.role == "system")
    text = "\n\n".join(turn.content for turn in turns if turn.role != "system")
    return system, HumanMessage(text, additional_kwargs={"question": question})


def load_messages(saver: Any, thread: str) -> list[Any]:
    """The messages of a conversation; empty where the memory does not have it."""
    checkpoint = saver.get_tuple({"configurable": {"thread_id": thread}})
    return list(checkpoint.checkpoint["channel_values"].get("messages", ())) if checkpoint is not None else []


def earlier_messages(saver: Any, thread: str, saved: Sequence[Any], state: State, ctx: Context) -> list[Any]:
    """The messages to put before the question: none where the memory has the turns of the history, else the history.

    The history decides. Where a turn was undone, or another process continued the conversation, the memory is rebuilt.
    """
    in_history = [turn.content for turn in state.history if turn.role == "user"]
    questions = [one.additional_kwargs.get("question", one.text) for one in saved if one.type == "human"]
    older = saved[0].additional_kwargs.get(_OLDER, 0) if saved else 0
    turns = ctx.caller.turns
    complete = bool(saved) and isinstance(saved[-1], AIMessage) and not saved[-1].tool_calls
    if (
        complete
        and turns in (None, older + len(questions))
        and in_history == questions[len(questions) - len(in_history) :]
    ):
        return []
    if saved:
        saver.delete_thread(thread)
        if in_history != questions[len(questions) - len(in_history) :] or turns == 0:
            ctx.note("the agent's memory of this conversation differs from its turns: the memory is rebuilt from them")
    marks = {RECALLED: True, _OLDER: max(0, (turns or 0) - len(in_history))}
    return [_MESSAGE_TYPES[turn.role](turn.content, additional_kwargs=dict(marks)) for turn in state.history]


def pending_question(saved: Sequence[Any]) -> str:
    """The last question of a conversation."""
    questions = [one for one in saved if one.type == "human"]
    return str(questions[-1].additional_kwargs.get("question", "")) if questions else ""


def collect_hits(messages: Sequence[Any]) -> tuple[Hit, ...]:
    """The passages of all results, in the order of their numbers."""
    numbered: list[tuple[int, Hit]] = []
    for one in messages:
        artifact = one.artifact if isinstance(one, ToolMessage) else None
        if isinstance(artifact, dict):
            numbered += [(artifact["first"] + n, _hit(row)) for n, row in enumerate(artifact.get("hits", ()))]
    return tuple(hit for _, hit in sorted(numbered, key=lambda pair: pair[0]))


def _hit(row: dict[str, Any]) -> Hit:
    chunk = row["chunk"]
    fields = {**chunk, "heading": tuple(chunk["heading"]), "access": tuple(chunk["access"])}
    return Hit(Chunk(**fields), row["score"], row["scores"])


def fit_messages(
    model: BaseChatModel, system: str, messages: Sequence[Any], tools: Sequence[Tool]
) -> tuple[list[Any], int]:
    """Leave old results out until the messages fit the model's window; the last result always stays.

    Returns:
        The messages, and the number of results that were left out.
    """
    window = context_window(model)
    fitting = list(messages)
    if window is None:
        return fitting, 0
    max_tokens = window - (getattr(model, "max_tokens", None) or 512)
    specs = [tool.spec() for tool in tools]
    old = [n for n, one in enumerate(fitting) if isinstance(one, ToolMessage)][:-1]
    for left_out, n in enumerate(old):
        if count_tokens(model, tool_protocol.render_turns([SystemMessage(system), *fitting], specs)) <= max_tokens:
            return fitting, left_out
        fitting[n] = fitting[n].model_copy(update={"content": _LEFT_OUT})
    return fitting, len(old)
