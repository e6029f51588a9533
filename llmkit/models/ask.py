"""Asking a chat model: one helper for every place in llmkit that does."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, Literal

from llmkit.arguments import many_texts
from llmkit.errors import EmptyReply, LlmkitError
from llmkit.models.chat import translate
from llmkit.replies.characters import CharacterJoiner
from llmkit.replies.read import read_message
from llmkit.replies.reasoning import ReasoningFilter
from llmkit.replies.reply import Reply
from llmkit.types import Message, Usage

Requirement = Literal["text", "whole", "anything"]
"""``text``: a text or a tool call, however it ended; ``whole``: it must be complete; ``anything``: no check."""
OnPiece = Callable[[str], None]


def ask_model(
    chat: Any,
    messages: Sequence[Any],
    *,
    require: Requirement = "text",
    on_token: OnPiece | None = None,
    on_reasoning: OnPiece | None = None,
    tools: Collection[str] = (),
    **options: Any,
) -> Reply:
    """The model's reply to some messages, read and checked.

    With a listener the reply is streamed, and the listener gets its text as it comes. A stream is not tried again once
    a piece of it was handed on; everything else is retried by the rules of :mod:`llmkit.models.retry`.

    Args:
        chat: a LangChain chat model.
        messages: of llmkit or of LangChain.
        require: what the caller can use.
        on_token: gets each piece of the answer, without reasoning; may raise to stop the model.
        on_reasoning: gets each piece of the reasoning.
        tools: names of the tools that were bound to the model.
        options: go to the call: ``temperature``, ``max_tokens``, ``seed``, ``response_format``.

    Raises:
        ModelRefusal: the model refused; the message holds its words.
        EmptyReply: there is no text.
        IncompleteReply: the reply was cut off, and `require` is ``whole``.
        ModelError: the model or its server failed.
        Cancelled: a listener stopped the call.
    """
    tools = many_texts(tools, "tools")
    turns = [(one.role, one.content) if isinstance(one, Message) else one for one in messages]
    try:
        if on_token is None and on_reasoning is None:
            reply = read_message(chat.invoke(turns, **options), tools)
        else:
            reply = _streamed(chat, turns, on_token, on_reasoning, tools, options)
    except LlmkitError:
        raise
    except Exception as error:
        raise translate(error) from error
    if require == "anything":
        return reply
    return reply.as_whole() if require == "whole" else reply.with_text()


def usage_of(reply: Reply, messages: Sequence[Message]) -> Usage:
    """Tokens of a call: the server's count, or an estimate from the bytes where it does not count."""
    if reply.counted:
        return reply.usage
    sent = sum(len(message.content.encode("utf-8", "replace")) // 3 + 8 for message in messages)
    return Usage(sent, len((reply.text + reply.reasoning).encode("utf-8", "replace")) // 3, 1)


def _streamed(
    chat: Any,
    turns: Sequence[Any],
    on_token: OnPiece | None,
    on_reasoning: OnPiece | None,
    tools: Collection[str],
    options: dict[str, Any],
) -> Reply:
    """The reply put together from a stream."""
    joiner, thoughts = CharacterJoiner(), ReasoningFilter()

    def hand_on(text: str, reasoning: str) -> None:
        if on_token is not None:
            on_token(text)
        if on_reasoning is not None and reasoning:
            on_reasoning(reasoning)

    pieces: list[Any] = []
    for piece in chat.stream(turns, **options):
        pieces.append(piece)
        text, reasoning = thoughts.feed(joiner.feed(str(piece.text)))
        hand_on(text, str(piece.additional_kwargs.get("reasoning_content") or "") + reasoning)
    if not pieces:
        raise EmptyReply("the model's stream held no reply at all", reply=Reply(counted=False), retryable=True)
    text, reasoning = thoughts.feed(joiner.finish())
    hand_on(text, reasoning)
    text, reasoning = thoughts.finish()
    if text or reasoning:
        hand_on(text, reasoning)
    # all at once: to add each piece to what came before copies the text again and again
    return read_message(pieces[0] + pieces[1:] if len(pieces) > 1 else pieces[0], tools)
