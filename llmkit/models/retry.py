"""When a call of a model is made again, and after which wait.

A call is repeated after errors that may pass: 408, 409, 425, 429, 5xx, a lost connection, a time-out, a response that
is not the protocol's, a reply without choices. It waits as long as the server asks, up to two minutes, else half a
second, doubled with each attempt up to eight seconds. Whoever listens (:mod:`llmkit.waiting`) is told of each wait.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import TypeVar

from llmkit.errors import ModelError
from llmkit.retry_waits import Wait, wait

LONGEST_WAIT = 120.0
"""Seconds; a server that asks for more is not asked again."""
_FIRST, _MOST = 0.5, 8.0
RETRYABLE = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529, 530})
"""HTTP statuses after which the same call may succeed."""
T = TypeVar("T")


def with_retries(call: Callable[[], T], retries: int) -> T:
    """The result of a call that is repeated after errors that may pass.

    Raises:
        ModelError: the last attempt failed, or an error that stays.
        Cancelled: the work was cancelled during a wait.
    """
    for attempt in range(1, retries + 2):
        try:
            return call()
        except ModelError as error:
            before_next(error, attempt, retries + 1)
    raise AssertionError("the last attempt returns or raises")


def stream_with_retries(call: Callable[[], Iterator[T]], retries: int) -> Iterator[T]:
    """The pieces of a stream that is begun again after errors that may pass, as long as no piece was handed on.

    Raises:
        ModelError: the last attempt failed, an error that stays, or one after the first piece.
        Cancelled: the work was cancelled during a wait.
    """
    for attempt in range(1, retries + 2):
        begun = False
        try:
            for piece in call():
                begun = True
                yield piece
            return
        except ModelError as error:
            if begun:
                raise
            before_next(error, attempt, retries + 1)


def before_next(error: ModelError, attempt: int, attempts: int) -> None:
    """Wait before the attempt that follows an error, or raise where none follows."""
    if not error.retryable or attempt >= attempts:
        raise error
    asked = error.retry_after
    if asked is not None and asked > LONGEST_WAIT:
        raise ModelError(
            f"{error}; the server asks to wait {_duration(asked)}, llmkit waits {LONGEST_WAIT:.0f} s at most",
            retry_after=asked,
        ) from error
    pause = min(_FIRST * 2 ** (attempt - 1), _MOST) * random.uniform(0.75, 1.0) if asked is None else asked  # noqa: S311
    wait(Wait(str(error), pause, attempt + 1, attempts))


def _duration(seconds: float) -> str:
    if seconds < 600:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.0f} hours"
