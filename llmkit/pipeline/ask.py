"""Asking a model from inside a step: usage, warnings and how the reply ended go into the step's record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llmkit.errors import ReplyError
from llmkit.models.ask import Requirement, ask_model
from llmkit.protocols import Context
from llmkit.replies.reply import Reply
from llmkit.types import Event, Message


def stream_answer(model: Any, messages: Sequence[Message], ctx: Context) -> Reply:
    """The model's answer, whose tokens go to the listener as they come.

    An answer that was cut off is given, and the listener is told; ``finish_reason`` is in the record.

    Raises:
        ModelRefusal: the model refused; the message holds its words.
        EmptyReply: there is no answer.
        ModelError: the model failed.
    """

    def emit(kind: Any, piece: str) -> None:
        ctx.emit(Event(kind, text=piece))

    try:
        reply = ask_model(
            model,
            messages,
            on_token=lambda piece: emit("token", piece) if piece else None,
            on_reasoning=lambda piece: emit("reasoning", piece),
        )
    except ReplyError as error:
        record_reply(error.reply, ctx)
        raise
    record_reply(reply, ctx)
    for warning in reply.warnings:
        ctx.note(warning)
    return reply


def ask_quietly(model: Any, messages: Sequence[Message], ctx: Context, *, require: Requirement = "whole") -> Reply:
    """The model's reply to something that is not the question; the listener is told no token.

    Raises:
        ReplyError: there is no text, or it is cut off and `require` is ``whole``.
        ModelError: the model failed.
    """
    try:
        reply = ask_model(model, messages, require=require)
    except ReplyError as error:
        if isinstance(error.reply, Reply):
            ctx.record(usage=error.reply.usage)
        raise
    ctx.record(usage=reply.usage)
    return reply


def record_reply(reply: object, ctx: Context) -> None:
    """Put a reply's usage, its ending, its reasoning and its refusal into the record of the step."""
    if isinstance(reply, Reply):
        ctx.record(usage=reply.usage, **reply.row())
