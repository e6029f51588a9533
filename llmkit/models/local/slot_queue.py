"""Who may use a loaded model now: so many calls at a time, all of one adapter, in the order they came.

::

    running  A A .        A waits for the free slot and gets it. B is first in line after that, and from then on nobody
    line     A B A        passes it: the slots run empty, B goes in, and with it every B in line that there is room for.

An adapter changes every matrix, so calls with different ones cannot share a step; llama.cpp lets those in its first
slots go on and starves the rest.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager

from llmkit.errors import Cancelled
from llmkit.stopping import called_off

ALONE = object()
"""The key of what runs with nothing beside it."""
ASKED_EVERY = 0.1
"""Seconds after which one who waits asks whether the wait is still of use."""


def admitted(running: Sequence[Hashable], line: Sequence[Hashable], most: int) -> list[int]:
    """Places in the line of those who go in now, given the keys of who runs and who waits.

    The first in line goes in as soon as nothing of another key runs, and takes the rest of its key with it, as far as
    there is room. Where the first must wait, everybody waits: nobody can be passed for ever.
    """
    if not line or any(key != line[0] for key in running) or (running and line[0] is ALONE):
        return []
    room = 1 if line[0] is ALONE else most - len(running)
    return [place for place, key in enumerate(line) if key == line[0]][:room]


class Slots:
    """Places in a model that threads take and give back."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._running: list[Hashable] = []
        self._line: list[_Place] = []
        self._changed = threading.Condition()

    @property
    def idle(self) -> bool:
        """Whether nobody runs or waits."""
        return not self._running and not self._line

    @contextmanager
    def take(self, key: Hashable) -> Iterator[None]:
        """Wait for a place and hold it.

        Raises:
            Cancelled: it was called off while it waited.
        """
        place = _Place(key)
        with self._changed:
            self._line.append(place)
            self._let_in()
            try:
                while not called_off() and not place.had:
                    self._changed.wait(ASKED_EVERY)
                if called_off():
                    raise Cancelled("it was called off while it waited for the model")
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
        going = admitted(self._running, [place.key for place in self._line], self.most)
        for place in [self._line[n] for n in going]:
            place.had = True
            self._line.remove(place)
            self._running.append(place.key)
        if going:
            self._changed.notify_all()


class _Place:
    """One thread's place, in line or in the model."""

    def __init__(self, key: Hashable) -> None:
        self.key, self.had = key, False
