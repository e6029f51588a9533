"""The queue for the slots of a loaded model: as many calls as slots, one adapter at a time, in order of arrival.

::

    running  A A .        The waiting A takes the free slot. B is then first in line, and no later call passes it: the
    line     A B A        running calls finish, B starts, and with it every other B in line that a slot is free for.

An adapter changes every matrix, so calls with different adapters cannot share a step: llama.cpp serves those in its
first slots and starves the rest.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager

from llmkit.cancellation import is_cancelled
from llmkit.errors import Cancelled

EXCLUSIVE = object()
"""The key of a call that runs alone."""
CHECK_SECONDS = 0.1
"""Seconds between two checks whether a waiting call was cancelled."""


def admissible(running: Sequence[Hashable], line: Sequence[Hashable], most: int) -> list[int]:
    """Positions in the line of the calls that start now.

    The first call starts once no call with another key runs, and every call in line with its key starts with it while
    slots are free. Where the first call must wait, all wait, so that none waits for ever.

    Args:
        running: keys of the running calls.
        line: keys of the waiting calls, in order of arrival.
        most: number of slots.
    """
    if not line or any(key != line[0] for key in running) or (running and line[0] is EXCLUSIVE):
        return []
    room = 1 if line[0] is EXCLUSIVE else most - len(running)
    return [place for place, key in enumerate(line) if key == line[0]][:room]


class SlotQueue:
    """The slots of a model; threads wait for one, hold it and free it."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._running: list[Hashable] = []
        self._line: list[_Place] = []
        self._changed = threading.Condition()

    @property
    def idle(self) -> bool:
        """Whether no call runs or waits."""
        return not self._running and not self._line

    @contextmanager
    def take(self, key: Hashable) -> Iterator[None]:
        """Wait for a slot and hold it.

        Raises:
            Cancelled: the call was cancelled while it waited.
        """
        place = _Place(key)
        with self._changed:
            self._line.append(place)
            self._let_in()
            try:
                while not is_cancelled() and not place.had:
                    self._changed.wait(CHECK_SECONDS)
                if is_cancelled():
                    raise Cancelled("the call was cancelled while it waited for the model")
            except BaseException:
                self._leave(place)
                raise
        try:
            yield
        finally:
            with self._changed:
                self._leave(place)

    def _leave(self, place: _Place) -> None:
        if place.had:
            self._running.remove(place.key)
        else:
            self._line.remove(place)
        self._let_in()

    def _let_in(self) -> None:
        going = admissible(self._running, [place.key for place in self._line], self.most)
        for place in [self._line[n] for n in going]:
            place.had = True
            self._line.remove(place)
            self._running.append(place.key)
        if going:
            self._changed.notify_all()


class _Place:
    """One thread's place in the line or in a slot."""

    def __init__(self, key: Hashable) -> None:
        self.key, self.had = key, False
