"""What a tool is: a name, what it is for, the schema of its arguments, and a function."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, runtime_checkable

from llmkit.arguments import many
from llmkit.protocols import Context
from llmkit.types import Hit


@dataclass(frozen=True, slots=True)
class Output:
    """What a call gave."""

    text: str | bytes
    """For the model; bytes are told as such and not shown."""
    hits: tuple[Hit, ...] = ()
    """Passages it found, to be numbered and cited; they stand for `text`."""


Call = Callable[[Mapping[str, Any], Context], Output]


@dataclass(frozen=True, slots=True)
class Tool:
    """One function a model may call."""

    name: str
    """What the model calls it: letters, digits, ``_`` and ``-``."""
    description: str
    """One sentence for the model."""
    parameters: Mapping[str, Any]
    """JSON schema of the arguments, an object."""
    call: Call
    """Does it; may raise, which the model is told."""
    side_effects: bool = False
    """It changes something outside the conversation."""
    untrusted: bool = True
    """What it gives was written by others, and may hold instructions."""

    def spec(self) -> dict[str, Any]:
        """The tool in the form of OpenAI's API, which `bind_tools` reads."""
        function = {"name": self.name, "description": self.description, "parameters": dict(self.parameters)}
        return {"type": "function", "function": function}


@runtime_checkable
class Toolbox(Protocol):
    """A part of the family ``tool``: one tool, or the tools of a server."""

    type: ClassVar[str]
    """The word that names it in YAML."""

    def tools(self) -> Sequence[Tool]:
        """The tools; nothing is looked up or opened before one is called, unless a server must be asked for them."""
        ...


@dataclass(frozen=True, slots=True)
class Arguments:
    """Builds the schema of a tool's arguments: ``Arguments().text("query", "what to look for").schema``."""

    properties: dict[str, Any] = field(default_factory=dict)
    required: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        many(self.required, "required")

    def text(self, name: str, about: str) -> Arguments:
        """A required text."""
        return self._with(name, {"type": "string", "description": about})

    def number(self, name: str, about: str) -> Arguments:
        """A required number."""
        return self._with(name, {"type": "number", "description": about})

    def _with(self, name: str, value: dict[str, Any]) -> Arguments:
        return Arguments({**self.properties, name: value}, (*self.required, name))

    @property
    def schema(self) -> dict[str, Any]:
        """JSON schema that takes these and nothing else."""
        return {
            "type": "object",
            "properties": self.properties,
            "required": list(self.required),
            "additionalProperties": False,
        }
