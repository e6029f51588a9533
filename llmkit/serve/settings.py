"""What a server is told: where it listens, what it serves, how much it takes."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from llmkit.part import Part

LOOPBACK = ("localhost", "127.0.0.1", "::1")
PIPELINES = ("chat", "docs-qa", "chat-local")


class Settings(Part):
    """All settings of ``llmkit serve``."""

    host: str = "127.0.0.1"
    """Address to listen on. Anything but loopback asks every caller for a key."""
    port: int = Field(default=8080, ge=0, le=65535)
    """0: any that is free."""
    hosts: tuple[str, ...] = ()
    """Further names this server is called by, as ``docs.example.org``; a request for any other is refused."""
    pipelines: tuple[str, ...] = Field(default=PIPELINES, min_length=1)
    """Names or files; the first is the default."""
    overrides: tuple[str, ...] = ()
    """``path=value`` each, for every pipeline."""
    knowledge: Path = Path(".llmkit/kb")
    """Folder of the knowledge base; made by the first upload where it is not there."""
    encoder: str = "local"
    """Of a knowledge base that is made."""
    data: Path = Path(".llmkit/serve")
    """Keys, uploaded files, traces, ratings, and the conversations of keys."""
    sessions: Path = Path(".llmkit/sessions.sqlite")
    """Conversations of whoever needs no key: the same that ``llmkit chat`` keeps."""
    keys: bool = False
    """Ask for keys on loopback, too."""
    slots: int = Field(default=8, ge=1, le=1000)
    """Runs at a time."""
    waiting: int = Field(default=64, ge=0, le=100_000)
    """Runs that wait for a slot; one more is refused with 429."""
    max_json: int = Field(default=1_000_000, ge=1000)
    """Bytes of a request that is not an upload."""
    max_upload: int = Field(default=100_000_000, ge=1000)
    """Bytes of an upload, all its files together."""
    max_stored: int = Field(default=10_000_000_000, ge=1000)
    """Bytes of uploaded files that are kept for one caller."""
    max_question: int = Field(default=20_000, ge=1)
    """Characters of a question."""
    max_files: int = Field(default=1000, ge=1)
    """Uploaded files that wait to be read, of one caller."""
    read_seconds: float = Field(default=20.0, gt=0)
    """For the head of a request, and between two pieces of its body."""
    least_rate: int = Field(default=10_000, ge=1)
    """Bytes a second that a body must come with, once `read_seconds` are over."""
    grace: float = Field(default=20.0, ge=0)
    """Seconds that running answers are given when the server is stopped."""
    kept: int = Field(default=5000, ge=1)
    """Traces kept for each caller; the oldest go first."""

    @property
    def open(self) -> bool:
        """Whether callers need no key."""
        return not self.keys

    @property
    def known_hosts(self) -> frozenset[str]:
        """Names in small letters that a request may be for."""
        own = () if self.host in ("0.0.0.0", "::", "") else (self.host,)  # noqa: S104  (compared, not bound)
        return frozenset(name.lower() for name in (*LOOPBACK, *own, *self.hosts))

    @model_validator(mode="after")
    def _guarded(self) -> Self:
        if self.host not in LOOPBACK and not self.keys:
            raise ValueError(f"listening on {self.host} needs keys: anybody who reaches it could read the documents")
        return self
