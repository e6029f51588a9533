"""Waits before a call is tried again: who wants to know of them, and how they end early."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from llmkit.errors import Cancelled
from llmkit.stopping import called_off

_CHECK_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Wait:
    """A wait before another attempt."""

    why: str
    """What went wrong, in a few words: ``429 rate limit``."""
    seconds: float
    attempt: int
    """Number of the attempt that follows the wait, counted from 2."""
    attempts: int
    """Attempts in all."""

    def __str__(self) -> str:
        seconds = f"{self.seconds:.0f}" if self.seconds >= 1 else f"{self.seconds:.1f}"
        return f"{self.why}: trying again in {seconds} s ({self.attempt} of {self.attempts}; Ctrl-C to stop)"


Listener = Callable[["Wait | None"], None]
"""Gets the wait when it begins, and None from time to time while it lasts; may raise to end it."""
_LISTENER: ContextVar[Listener | None] = ContextVar("llmkit_wait_listener", default=None)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Tell `listener` of every wait in this context."""
    token = _LISTENER.set(listener)
    try:
        yield
    finally:
        _LISTENER.reset(token)


def wait(pause: Wait) -> None:
    """Tell whoever listens, then wait.

    Raises:
        Cancelled: the work was cancelled meanwhile.
    """
    listener = _LISTENER.get()
    if listener is not None:
        listener(pause)
    end = time.monotonic() + pause.seconds
    while (left := end - time.monotonic()) > 0:
        if called_off():
            raise Cancelled("the call was cancelled while it waited to ask the model again")
        if listener is not None:
            listener(None)
        time.sleep(min(_CHECK_SECONDS, left))
