"""Waits before a call is tried again: they are reported to a listener, and a cancellation ends them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from llmkit.cancellation import is_cancelled
from llmkit.errors import Cancelled

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
"""Called with the wait when it begins, and with None about ten times a second while it lasts. Raise to end the wait."""
_LISTENER: ContextVar[Listener | None] = ContextVar("llmkit_wait_listener", default=None)


@contextmanager
def on_wait(listener: Listener) -> Iterator[None]:
    """Call `listener` for every wait inside the block."""
    token = _LISTENER.set(listener)
    try:
        yield
    finally:
        _LISTENER.reset(token)


def wait(pause: Wait) -> None:
    """Report the wait to the listener, then wait.

    Raises:
        Cancelled: the work was cancelled meanwhile.
    """
    listener = _LISTENER.get()
    if listener is not None:
        listener(pause)
    end = time.monotonic() + pause.seconds
    while (left := end - time.monotonic()) > 0:
        if is_cancelled():
            raise Cancelled("the call was cancelled while it waited to ask the model again")
        if listener is not None:
            listener(None)
        time.sleep(min(_CHECK_SECONDS, left))
