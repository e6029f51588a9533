"""Who asks, and what that caller may do and see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from llmkit.errors import LlmkitError

Scope = Literal["ask", "ingest", "admin"]
SCOPES: tuple[str, ...] = get_args(Scope)


@dataclass(frozen=True, slots=True)
class Caller:
    """A key, or whoever sits at this machine. Sessions, traces, ratings and uploads are kept apart by `id`."""

    id: str
    """One word, used in the names of files."""
    name: str
    scopes: frozenset[str]
    labels: tuple[str, ...] = ()
    """Access labels it holds beside its own."""
    rate: int | None = None
    """Requests a minute; none: no limit."""
    max_upload: int | None = None
    """Bytes of one upload; none: the server's."""

    @property
    def own(self) -> str:
        """Access label of what only this caller may read."""
        return f"key:{self.id}"

    @property
    def reader(self) -> tuple[str, ...] | None:
        """Labels it reads the knowledge base with; None: the owner, who sees all."""
        return None if "admin" in self.scopes else tuple(sorted({*self.labels, self.own}))

    def may(self, scope: str) -> bool:
        """Whether it may do what needs this scope."""
        return scope in self.scopes or "admin" in self.scopes


LOCAL = Caller("local", "this machine", frozenset(SCOPES))
NOBODY = Caller("nobody", "nobody", frozenset())


class Refused(LlmkitError):
    """A request that is not obeyed: the HTTP status, and what OpenAI's clients call the kind."""

    def __init__(self, status: int, message: str, *, code: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.retry_after = retry_after
