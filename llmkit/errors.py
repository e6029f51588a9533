"""The errors that llmkit raises on purpose.

All derive from :class:`LlmkitError`, so that callers need one ``except``. A message says what was wrong, where, and
what to do about it. Errors carry data and log nothing.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


class LlmkitError(Exception):
    """Root of every error that llmkit raises on purpose."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in a configuration."""

    path: str
    """Dotted path of the value, as in ``steps[0].retriever.type``; empty for the whole file."""
    message: str
    """What is wrong, and what would be right."""
    line: int | None = None
    """Line of the value in the file, from 1."""
    column: int | None = None
    """Column of the value in that line, from 1."""

    def __str__(self) -> str:
        where = "" if self.line is None else f"line {self.line}, column {self.column}: "
        return f"{where}{self.path}  {self.message}" if self.path else f"{where}{self.message}"


class ConfigError(LlmkitError):
    """A configuration that cannot be used. It holds all problems that were found."""

    def __init__(self, problems: Sequence[Problem] | str, source: str = "") -> None:
        self.problems: tuple[Problem, ...] = (Problem("", problems),) if isinstance(problems, str) else tuple(problems)
        self.source = source
        lines = [str(problem) for problem in self.problems]
        if source:
            head = f"{source}: {len(lines)} problem{'s' if len(lines) != 1 else ''}"
            lines = [head, *(f"  {line}" for line in lines)]
        super().__init__("\n".join(lines))


class DataError(LlmkitError):
    """A file, row, document or argument that does not have the expected form."""


class KnowledgeError(LlmkitError):
    """A knowledge base that is missing, busy, damaged, or made with other settings."""


class Busy(KnowledgeError):
    """Another process is writing to the knowledge base."""


class PromptError(LlmkitError):
    """A prompt that is missing, lacks a variable, or was changed after it was locked."""


class ModelError(LlmkitError):
    """A model that could not be loaded or did not answer."""

    def __init__(self, message: str, *, retryable: bool = False, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retryable = retryable
        """Whether the same call may succeed later (time-outs, 429, 5xx, lost connections)."""
        self.retry_after = retry_after
        """Seconds that the server asked the client to wait; None: it did not say."""


class TooLong(ModelError):
    """A prompt that is longer than the model's context window."""


class ConnectionLost(ModelError):
    """A reply that ended before the server said how it ends. The same call may succeed later."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message, retryable=True, retry_after=retry_after)


class BadResponse(ModelError):
    """A response that breaks the protocol: HTML of a proxy, invalid JSON, text that is not UTF-8."""

    def __init__(self, message: str, *, retryable: bool = True) -> None:
        super().__init__(message, retryable=retryable)


class ReplyError(ModelError):
    """A reply that arrived completely and cannot be used. It says nothing about the documents."""

    def __init__(self, message: str, *, reply: object = None, retryable: bool = False) -> None:
        super().__init__(message, retryable=retryable)
        self.reply = reply
        """The :class:`llmkit.replies.Reply` that came, with its usage."""


class ModelRefusal(ReplyError):
    """The model refused to answer; the message and ``reply.refusal`` hold its own words."""


class EmptyReply(ReplyError):
    """A reply without text: no choices, an empty text, all tokens spent on reasoning, or withheld by a filter."""


class IncompleteReply(ReplyError):
    """A reply that was cut off, where a complete one is needed."""


class UnsupportedPrecision(ModelError):
    """A precision that this machine cannot compute in, or computes wrongly; the message names one that works."""


class StepError(LlmkitError):
    """A pipeline step that failed; the cause is chained."""

    def __init__(self, step: str, message: str) -> None:
        super().__init__(f"{step}: {message}")
        self.step = step
        """Where in the pipeline, as in ``steps[1] answer``."""


class SandboxError(LlmkitError):
    """Untrusted code that cannot be run safely on this machine, and was not run."""


class Cancelled(LlmkitError):
    """The run was cancelled. What was committed before stays."""


class MissingExtra(LlmkitError):
    """A feature whose packages are not installed."""

    def __init__(self, feature: str, package: str, extra: str) -> None:
        super().__init__(
            f"{feature} needs the package {package!r}, which is not installed: pip install 'llmkit[{extra}]'"
        )
        self.extra = extra


def unknown(what: str, word: str, known: Iterable[str]) -> str:
    """Message for an unknown word: ``unknown WHAT 'wrod'; did you mean 'word'? (known: …)``."""
    known = list(known)
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"unknown {what} {word!r}{hint} (known: {', '.join(known) or 'none'})"
