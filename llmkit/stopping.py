"""Work that may be called off: who runs it says how it is told, what takes long asks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_STOPPED: ContextVar[tuple[Callable[[], bool], ...]] = ContextVar("llmkit_stopped", default=())


@contextmanager
def unless(stopped: Callable[[], bool]) -> Iterator[None]:
    """What is done in here ends early once `stopped` is true; an outer one counts, too."""
    token = _STOPPED.set((*_STOPPED.get(), stopped))
    try:
        yield
    finally:
        _STOPPED.reset(token)


def called_off() -> bool:
    """Whether nobody waits any more for the work this thread does."""
    return any(stopped() for stopped in _STOPPED.get())
