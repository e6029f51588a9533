"""A person between a model and what it wants done: who is there, what is asked, what was decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from llmkit.errors import DataError, LlmkitError, unknown
from llmkit.types import State


@dataclass(frozen=True, slots=True)
class Request:
    """A call that waits for a decision."""

    tool: str
    arguments: Mapping[str, Any]
    why: str
    """Why somebody is asked."""


Kind = Literal["approve", "reject", "edit"]


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a call.

    Raises:
        DataError: `kind` is none of the three.
    """

    kind: Kind
    reason: str = ""
    """Of a rejection: the model is told."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Of an edit: what the call is made with instead."""

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise DataError(unknown("decision", self.kind, get_args(Kind)))


@dataclass(frozen=True, slots=True)
class Caller:
    """Who runs a pipeline."""

    thread: str = ""
    """Name of the conversation whose memory is gone on with; empty: none."""
    turns: int | None = None
    """How many turns that conversation has, where the caller keeps them; what remembers others is begun anew."""
    attended: bool = False
    """Whether somebody is there to decide; where nobody is, what needs a decision is not done."""
    decisions: tuple[Decision, ...] = ()
    """On what was asked before, in order."""
    spent: Mapping[str, Any] = field(default_factory=dict)
    """What the run that waited had used: ``ApprovalNeeded.spent``."""


class ApprovalNeeded(LlmkitError):
    """A run that waits: hand it to :meth:`llmkit.pipeline.Pipeline.decide` with a decision on each request."""

    def __init__(self, requests: Sequence[Request], thread: str, spent: Mapping[str, Any]) -> None:
        asked = "; ".join(f"{one.tool}({dict(one.arguments)})" for one in requests)
        super().__init__(f"waiting for a decision on: {asked[:500]}")
        self.requests = tuple(requests)
        self.thread = thread
        """Where its memory is."""
        self.spent = spent
        """What the agent used so far, and its trace; the wait for a person is not in its seconds."""
        self.state: State | None = None
        """What the pipeline knew before the step that waits."""
        self.step = 0
        """Position of that step."""
