"""What a local runtime promises: a request in, pieces of text out, and how it ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

from llmkit.errors import ModelError
from llmkit.models.local.adapter import Adapter

Turn = tuple[str, str]
"""Role and text."""
Tell = Callable[[str], bool]
"""Takes a piece of text, or none to say that the prompt is still being read; returns True to stop."""


class Crashed(ModelError):
    """The runtime failed in the middle of its work: every call it answered has ended, and it must be loaded anew."""

    def __init__(self, message: str) -> None:
        super().__init__(f"the model crashed ({message}); it is loaded anew for the next question", retryable=True)


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt and how it is to be answered."""

    turns: Sequence[Turn]
    max_tokens: int
    temperature: float
    seed: int | None = None
    stop: tuple[str, ...] = ()
    schema: dict[str, Any] | None = None
    """JSON schema the answer must follow."""
    grammar: str | None = None
    """GBNF grammar the answer must follow."""
    adapter: str | None = None
    """Name of the adapter to answer with; none: the bare base."""


@dataclass(frozen=True, slots=True)
class Done:
    """How a generation ended."""

    finish_reason: Literal["stop", "length", "cancelled"]
    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0
    """Prompt tokens that were known from the call before."""


class Engine(Protocol):
    """A loaded model."""

    slots: int
    """Calls it answers at a time, from as many threads. Where it is more than one, prompts may be counted meanwhile."""

    knows_schemas: ClassVar[bool]
    """Whether it can hold an answer to a JSON schema."""

    def generate(self, request: Request, tell: Tell) -> Done:
        """Generate, telling each piece of text.

        Raises:
            ModelError: the prompt does not fit the context, or the runtime cannot do what is asked.
            Crashed: the runtime is of no use any more.
        """
        ...

    def share(self, turns: Sequence[Turn]) -> None:
        """Read the beginning of prompts to come once for all slots, where there are several; nothing runs meanwhile."""
        ...

    def count(self, turns: Sequence[Turn]) -> int:
        """Tokens of the prompt these turns make."""
        ...

    def first_token(self, turns: Sequence[Turn], adapter: str | None = None) -> dict[int, float]:
        """Natural logarithms of the probabilities of the hundred most likely first tokens of an answer, by token."""
        ...

    def with_adapters(self, adapters: Mapping[str, Adapter]) -> None:
        """Have exactly these adapters, by name; their base was checked.

        Raises:
            ModelError: the runtime knows none, one cannot be read by it, or one changes no output.
        """
        ...
