"""Approval of tool calls by a person: the request, the decision, and the run that waits for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from llmkit.errors import DataError, LlmkitError, unknown
from llmkit.types import State


@dataclass(frozen=True, slots=True)
class Request:
    """A tool call that waits for a decision."""

    tool: str
    arguments: Mapping[str, Any]
    why: str
    """Why the call needs a decision."""


Kind = Literal["approve", "reject", "edit"]


@dataclass(frozen=True, slots=True)
class Decision:
    """A decision about one request: make the call, refuse it, or make it with other arguments.

    Raises:
        DataError: `kind` is not approve, reject or edit.
    """

    kind: Kind
    reason: str = ""
    """For a rejection: the text that the model reads."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """For an edit: the arguments that replace those of the model."""

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise DataError(unknown("decision", self.kind, get_args(Kind)))


@dataclass(frozen=True, slots=True)
class Caller:
    """Who runs a pipeline."""

    thread: str = ""
    """Name of the conversation that the run continues; empty: none."""
    turns: int | None = None
    """Number of turns of the conversation, if the caller keeps it. A memory with another number begins anew."""
    attended: bool = False
    """Whether a person is there to decide. Without one, calls that need a decision are refused."""
    decisions: tuple[Decision, ...] = ()
    """Decisions on the requests of the run that waited, in order."""
    spent: Mapping[str, Any] = field(default_factory=dict)
    """What the run that waited had used: :attr:`ApprovalNeeded.spent`."""


class ApprovalNeeded(LlmkitError):
    """A run waits for decisions: pass it to :meth:`llmkit.pipeline.Pipeline.decide`, with one decision a request."""

    def __init__(self, requests: Sequence[Request], thread: str, spent: Mapping[str, Any]) -> None:
        calls = "; ".join(f"{one.tool}({dict(one.arguments)})" for one in requests)
        super().__init__(f"waiting for a decision on: {calls[:500]}")
        self.requests = tuple(requests)
        self.thread = thread
        """Name of the conversation in the agent's memory."""
        self.spent = spent
        """What the agent has used so far, and its trace. The seconds do not count the wait for a person."""
        self.state: State | None = None
        """State of the pipeline before the step that waits."""
        self.step = 0
        """Position of the step that waits, from 0."""
