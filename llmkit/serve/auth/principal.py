"""Who sends a request, and what that principal may do and read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Scope = Literal["ask", "ingest", "admin"]
SCOPES: tuple[str, ...] = get_args(Scope)


@dataclass(frozen=True, slots=True)
class Principal:
    """The holder of an API key, or the user of this machine where no key is required.

    The server keeps the conversations, traces, feedback and uploads of each principal apart, by :attr:`id`.
    """

    id: str
    """A word of letters and digits; the server uses it in file names."""
    name: str
    scopes: frozenset[str]
    labels: tuple[str, ...] = ()
    """Access labels of the key, besides :attr:`own_label`."""
    rate: int | None = None
    """Requests per minute; None means no limit."""
    max_upload: int | None = None
    """Bytes of one upload; None means the server's limit."""

    @property
    def own_label(self) -> str:
        """The access label of documents that only this principal may read."""
        return f"key:{self.id}"

    @property
    def reader(self) -> tuple[str, ...] | None:
        """The labels this principal reads the knowledge base with; None reads everything, as the owner does."""
        return None if "admin" in self.scopes else tuple(sorted({*self.labels, self.own_label}))

    def may(self, scope: str) -> bool:
        """Return whether this principal holds a scope. ``admin`` includes every other scope."""
        return scope in self.scopes or "admin" in self.scopes


LOCAL_PRINCIPAL = Principal("local", "this machine", frozenset(SCOPES))
ANONYMOUS = Principal("nobody", "nobody", frozenset())
