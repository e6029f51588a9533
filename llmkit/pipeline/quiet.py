"""Asking a model for something that is not the answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llmkit.errors import LlmkitError
from llmkit.models.chat import translate
from llmkit.protocols import Context
from llmkit.types import Message, Usage


def ask_quietly(model: Any, messages: Sequence[Message], ctx: Context) -> str:
    """The model's reply, in one piece and without tokens told to the listener; usage goes into the record.

    Raises:
        ModelError: the model failed.
    """
    try:
        reply = model.invoke([(message.role, message.content) for message in messages])
    except LlmkitError:
        raise
    except Exception as error:
        raise translate(error) from error
    counts = reply.usage_metadata or {}
    ctx.record(usage=Usage(counts.get("input_tokens", 0), counts.get("output_tokens", 0), 1))
    return str(reply.text).strip()
