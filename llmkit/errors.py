"""Every error llmkit raises on purpose.

One root, :class:`LlmkitError`, so that a caller needs one ``except`` and the command line one place to
print from. A message says what was wrong, where, and what to do about it. Errors carry data, they never log.
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
    """What is wrong and what would be right."""
    line: int | None = None
    """Line in the file, counted from 1, where the value stands."""
    column: int | None = None
    """Column in that line, counted from 1."""

    def __str__(self) -> str:
        where = "" if self.line is None else f"line {self.line}, column {self.column}: "
        return f"{where}{self.path}  {self.message}" if self.path else f"{where}{self.message}"


class ConfigError(LlmkitError):
    """A configuration that cannot be used; holds every problem found, not only the first."""

    def __init__(self, problems: Sequence[Problem] | str, source: str = "") -> None:
        self.problems: tuple[Problem, ...] = (Problem("", problems),) if isinstance(problems, str) else tuple(problems)
        self.source = source
        lines = [str(problem) for problem in self.problems]
        if source:
            head = f"{source}: {len(lines)} problem{'s' if len(lines) != 1 else ''}"
            lines = [head, *(f"  {line}" for line in lines)]
        super().__init__("\n".join(lines))


class DataError(LlmkitError):
    """A file, row or document that cannot be read as what it claims to be."""


class KnowledgeError(LlmkitError):
    """A knowledge base that is missing, busy, damaged or made with something else."""


class Busy(KnowledgeError):
    """A knowledge base that somebody else writes to at this moment."""


class PromptError(LlmkitError):
    """A prompt that is missing, was changed without a new version, or lacks a variable."""


class ModelError(LlmkitError):
    """A model that could not be loaded or did not answer."""

    def __init__(self, message: str, *, retryable: bool = False, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retryable = retryable
        """Whether the same call may succeed later (time-outs, 429, 5xx, lost connections)."""
        self.retry_after = retry_after
        """Seconds the server asked us to wait, where it said so."""


class TooLong(ModelError):
    """A prompt that the model's window cannot hold; another one may fit."""


class ConnectionLost(ModelError):
    """A reply that ended before the server said how it ends. The same call may succeed later."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message, retryable=True, retry_after=retry_after)


class BadResponse(ModelError):
    """A response that is not what the protocol promises: HTML of a proxy, invalid JSON, text that is not UTF-8."""

    def __init__(self, message: str, *, retryable: bool = True) -> None:
        super().__init__(message, retryable=retryable)


class ReplyError(ModelError):
    """A reply that came whole and that nothing can be built on. It says nothing about the documents."""

    def __init__(self, message: str, *, reply: object = None, retryable: bool = False) -> None:
        super().__init__(message, retryable=retryable)
        self.reply = reply
        """The :class:`llmkit.replies.Reply` that came, with its usage."""


class ModelRefusal(ReplyError):
    """The model refused to answer; the message and ``reply.refusal`` hold its own words."""


class EmptyReply(ReplyError):
    """A reply without text: no choices, an empty text, all tokens spent on reasoning, or withheld by a filter."""


class IncompleteReply(ReplyError):
    """A reply that was cut off, where only a complete one is of use."""


class UnsupportedPrecision(ModelError):
    """A precision that this machine cannot compute in, or computes wrongly; the message names one that works."""


class StepError(LlmkitError):
    """A pipeline step that failed; the cause is chained."""

    def __init__(self, step: str, message: str) -> None:
        super().__init__(f"{step}: {message}")
        self.step = step
        """Where in the pipeline, as in ``steps[1] answer``."""


class SandboxError(LlmkitError):
    """Untrusted code that cannot be run safely here, and therefore is not run."""


class Cancelled(LlmkitError):
    """The run was stopped on request; what was committed before stays."""


class MissingExtra(LlmkitError):
    """A feature whose packages are not installed."""

    def __init__(self, feature: str, package: str, extra: str) -> None:
        super().__init__(
            f"{feature} needs the package {package!r}, which is not installed: pip install 'llmkit[{extra}]'"
        )
        self.extra = extra


def unknown(what: str, word: str, known: Iterable[str]) -> str:
    """``unknown WHAT 'wrod'; did you mean 'word'? Known: …``."""
    known = list(known)
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"unknown {what} {word!r}{hint} (known: {', '.join(known) or 'none'})"
