"""Cancellation of long work: the caller says how to find out, and long calls check between their steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_STOPPED: ContextVar[tuple[Callable[[], bool], ...]] = ContextVar("llmkit_stopped", default=())


@contextmanager
def cancel_when(stopped: Callable[[], bool]) -> Iterator[None]:
    """Cancel the work inside the block once `stopped` returns true. Blocks nest: an outer one cancels, too.

    The work must check :func:`is_cancelled`; nothing is interrupted from outside.
    """
    token = _STOPPED.set((*_STOPPED.get(), stopped))
    try:
        yield
    finally:
        _STOPPED.reset(token)


def is_cancelled() -> bool:
    """Whether the work of this thread was cancelled."""
    return any(stopped() for stopped in _STOPPED.get())
