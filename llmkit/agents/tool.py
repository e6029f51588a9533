"""Tools: a name, a description, a JSON schema of the arguments, and a function."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, runtime_checkable

from llmkit.arguments import many
from llmkit.protocols import Context
from llmkit.types import Hit


@dataclass(frozen=True, slots=True)
class Output:
    """The result of a call."""

    text: str | bytes
    """Text for the model. Bytes are reported by their size and not shown."""
    hits: tuple[Hit, ...] = ()
    """Passages, which are numbered and can be cited; they are shown instead of `text`."""


Call = Callable[[Mapping[str, Any], Context], Output]


@dataclass(frozen=True, slots=True)
class Tool:
    """One function that a model may call."""

    name: str
    """Name for the model: letters, digits, ``_`` and ``-``."""
    description: str
    """Description for the model, one sentence."""
    parameters: Mapping[str, Any]
    """JSON schema of the arguments, which are an object."""
    call: Call
    """The function. The model is shown the errors it raises."""
    side_effects: bool = False
    """Whether a call changes something outside the conversation."""
    untrusted: bool = True
    """Whether the results contain text by others, which may contain instructions."""

    def spec(self) -> dict[str, Any]:
        """The tool as OpenAI's API describes it, for ``bind_tools``."""
        function = {"name": self.name, "description": self.description, "parameters": dict(self.parameters)}
        return {"type": "function", "function": function}


@runtime_checkable
class Toolbox(Protocol):
    """A part of the family ``tool``: one tool, or the tools of a server."""

    type: ClassVar[str]
    """The word that names it in YAML."""

    def tools(self) -> Sequence[Tool]:
        """The tools. Resources are opened on the first call, unless a server must be asked for its tools."""
        ...


@dataclass(frozen=True, slots=True)
class Arguments:
    """Builds the schema of a tool's arguments, as in ``Arguments().text("query", "what to look for").schema``."""

    properties: dict[str, Any] = field(default_factory=dict)
    required: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        many(self.required, "required")

    def text(self, name: str, about: str) -> Arguments:
        """Add a required text argument."""
        return self._with(name, {"type": "string", "description": about})

    def number(self, name: str, about: str) -> Arguments:
        """Add a required number argument."""
        return self._with(name, {"type": "number", "description": about})

    def _with(self, name: str, value: dict[str, Any]) -> Arguments:
        return Arguments({**self.properties, name: value}, (*self.required, name))

    @property
    def schema(self) -> dict[str, Any]:
        """JSON schema of these arguments; others are refused."""
        return {
            "type": "object",
            "properties": self.properties,
            "required": list(self.required),
            "additionalProperties": False,
        }
