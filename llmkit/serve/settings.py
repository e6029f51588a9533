"""Settings of the server: where it listens, what it serves, and its limits."""

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
    """Address to listen on. Any address beyond loopback requires API keys."""
    port: int = Field(default=8080, ge=0, le=65535)
    """Port to listen on; 0 takes any free port."""
    allowed_hosts: tuple[str, ...] = ()
    """Further host names of this server, such as ``docs.example.org``. Requests for other names are refused."""
    pipelines: tuple[str, ...] = Field(default=PIPELINES, min_length=1)
    """Names or files of the pipelines to serve; the first is the default."""
    overrides: tuple[str, ...] = ()
    """Settings of the form ``path=value`` that apply to every pipeline."""
    knowledge: Path = Path(".llmkit/kb")
    """Folder of the knowledge base. The first upload creates it where it does not exist."""
    encoder: str = "local"
    """Encoder of a knowledge base that the server creates."""
    data: Path = Path(".llmkit/serve")
    """Folder for API keys, uploaded files, traces, feedback, and the conversations of keys."""
    sessions: Path = Path(".llmkit/sessions.sqlite")
    """Conversations of the local user, where no key is required; ``llmkit chat`` uses the same file."""
    keys: bool = False
    """Whether to require API keys on loopback as well."""
    slots: int = Field(default=8, ge=1, le=1000)
    """Pipelines that run at the same time."""
    max_waiting: int = Field(default=64, ge=0, le=100_000)
    """Runs that wait for a slot. The server refuses further ones with status 429."""
    max_json: int = Field(default=1_000_000, ge=1000)
    """Bytes of the body of a request that is not an upload."""
    max_upload: int = Field(default=100_000_000, ge=1000)
    """Bytes of an upload, all its files together."""
    max_stored: int = Field(default=10_000_000_000, ge=1000)
    """Bytes of uploaded files that the server stores for one caller."""
    max_question: int = Field(default=20_000, ge=1)
    """Characters of a question."""
    max_files: int = Field(default=1000, ge=1)
    """Uploaded files of one caller that wait to be read."""
    read_seconds: float = Field(default=20.0, gt=0)
    """Seconds a client has to send the head of a request, and to begin with its body."""
    min_body_rate: int = Field(default=10_000, ge=1)
    """Bytes per second that a body must arrive with, once `read_seconds` are over."""
    grace: float = Field(default=20.0, ge=0)
    """Seconds that running answers have left when the server is stopped."""
    max_traces: int = Field(default=5000, ge=1)
    """Traces kept for each caller; the oldest are deleted first."""

    @property
    def is_open(self) -> bool:
        """Whether callers need no key."""
        return not self.keys

    @property
    def known_hosts(self) -> frozenset[str]:
        """Host names, in lower case, that a request may name."""
        own = () if self.host in ("0.0.0.0", "::", "") else (self.host,)  # noqa: S104  (compared, not bound)
        return frozenset(name.lower() for name in (*LOOPBACK, *own, *self.allowed_hosts))

    @model_validator(mode="after")
    def _require_keys_beyond_loopback(self) -> Self:
        if self.host not in LOOPBACK and not self.keys:
            raise ValueError(
                f"listening on {self.host} requires API keys: without them, anybody who reaches the address can read "
                "the documents; set keys to true"
            )
        return self
