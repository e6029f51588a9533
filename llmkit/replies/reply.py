"""The reply of a chat model, and the checks that a caller can ask of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from llmkit.errors import EmptyReply, IncompleteReply, ModelRefusal
from llmkit.types import FinishReason, Usage

__all__ = ["FinishReason", "Reply", "ToolCall"]

_ENDINGS: dict[FinishReason, str] = {
    "length": "the reply was cut off at the model's max_tokens",
    "content_filter": "the server's content filter cut the reply off",
    "missing": "the server did not say how the reply ended; it may be incomplete",
}


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a tool that a model asks for."""

    name: str
    """Empty where the call names no tool, which `problem` then says."""
    arguments: Mapping[str, Any]
    """Empty where `problem` says that they cannot be read."""
    id: str = ""
    """The server's name of the call; may be empty, or occur twice."""
    problem: str = ""
    """Why the arguments cannot be used; empty: they are a JSON object."""
    raw: str = ""
    """The text of arguments that cannot be used."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a chat model answered to one call.

    :func:`llmkit.replies.read_message` makes it from a LangChain message. Only `text` is the answer: `reasoning` is
    never quoted, cited, scored or remembered as one.
    """

    text: str = ""
    """The answer, without surrounding white space and without reasoning."""
    reasoning: str = ""
    """What the model wrote for itself before it answered."""
    tool_calls: tuple[ToolCall, ...] = ()
    """Calls in the order in which the model asks for them."""
    refusal: str = ""
    """The words with which the model refused to answer."""
    finish_reason: FinishReason = "stop"
    """How the reply ended; ``missing`` where the server does not say."""
    usage: Usage = field(default_factory=lambda: Usage(calls=1))
    """Tokens of this call; zeros where the server does not count them."""
    counted: bool = True
    """Whether the server counted the tokens."""
    model: str = ""
    """Name of the model as the server gives it."""
    notes: tuple[str, ...] = ()
    """What the reader should know: characters that were replaced, reasoning that was taken off."""

    @property
    def complete(self) -> bool:
        """Whether the model ended the reply by itself."""
        return self.finish_reason in ("stop", "tool_calls")

    @property
    def ending(self) -> str:
        """Why the reply may be incomplete, as a sentence; empty where it is complete."""
        return _ENDINGS.get(self.finish_reason, "")

    @property
    def warnings(self) -> tuple[str, ...]:
        """Everything a user should be told about this reply."""
        return (*([self.ending] if self.ending else []), *self.notes)

    def with_text(self) -> Reply:
        """This reply, which holds text or a tool call.

        Raises:
            ModelRefusal: the model refused; the message holds its words.
            EmptyReply: there is no text; the message says why.
        """
        if self.refusal and not self.text and not self.tool_calls:
            raise ModelRefusal(f"the model refused to answer: {self.refusal}", reply=self)
        if self.text or self.tool_calls:
            return self
        if self.finish_reason == "content_filter":
            raise EmptyReply("the server's content filter withheld the whole reply", reply=self)
        if self.finish_reason == "length":
            spent = "on its reasoning" if self.reasoning else "without writing any text"
            raise EmptyReply(
                f"the model spent its max_tokens {spent} and gave no answer: raise max_tokens, or ask for less "
                "reasoning (reasoning_effort)",
                reply=self,
            )
        if self.reasoning:
            raise EmptyReply("the model wrote reasoning only and gave no answer", reply=self)
        raise EmptyReply("the model answered with no text, which says nothing about the question", reply=self)

    def as_whole(self) -> Reply:
        """This reply, which holds text and is complete: something may be built on it.

        Raises:
            ModelRefusal: the model refused.
            EmptyReply: there is no text.
            IncompleteReply: there is text, and it was cut off or may have been.
        """
        self.with_text()
        if not self.complete:
            why = "; ".join(self.warnings)
            raise IncompleteReply(f"{why}: the reply was not used ({self.text[:80]!r})", reply=self)
        return self

    def row(self) -> dict[str, Any]:
        """What a trace keeps beside the text, as JSON values; what says nothing is left out."""
        values: dict[str, Any] = {"finish_reason": self.finish_reason}
        for name in ("reasoning", "refusal"):
            if value := getattr(self, name):
                values[name] = value
        return values
