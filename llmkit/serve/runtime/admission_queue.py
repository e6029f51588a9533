"""Admission control: a fixed number of slots, a bounded queue before them, and status 429 beyond it."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque

from llmkit.serve.errors import HttpError

_SMOOTHING = 0.2  # weight of the last run in the moving average of how long a run holds its slot


class AdmissionQueue:
    """Slots for runs, in order of arrival. One queue belongs to one event loop.

    Args:
        slots: runs that hold a slot at the same time.
        max_waiting: runs that wait for a slot.
    """

    def __init__(self, slots: int, max_waiting: int) -> None:
        self.slots, self.max_waiting = slots, max_waiting
        self.busy = 0
        """Slots that are taken."""
        self._queue: deque[asyncio.Future[None]] = deque()
        self._mean_seconds = 1.0

    @property
    def waiting(self) -> int:
        """Runs in the queue."""
        return len(self._queue)

    def check_capacity(self) -> None:
        """Refuse a run where every slot is taken and the queue is full.

        Raises:
            HttpError: 429; `retry_after` holds an estimate of the seconds until there is room.
        """
        if self.busy >= self.slots and self.waiting >= self.max_waiting:
            wait = max(1, math.ceil(self._mean_seconds * (self.waiting + 1) / self.slots))
            raise HttpError(
                429,
                f"the server is at capacity, with {self.busy} answers running and {self.waiting} waiting: "
                f"try again in {wait} s",
                code="busy",
                retry_after=min(wait, 60),
            )

    async def acquire(self) -> float:
        """Wait for a slot; return the monotonic time at which it was taken, for :meth:`release`."""
        if self.busy < self.slots and not self._queue:
            self.busy += 1
            return time.monotonic()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # the slot was handed over in the moment of cancellation
                self._hand_over()
            elif turn in self._queue:
                self._queue.remove(turn)
            raise
        return time.monotonic()

    def release(self, since: float) -> None:
        """Give the slot to the next run in the queue; `since` is what :meth:`acquire` returned."""
        self._mean_seconds += _SMOOTHING * (time.monotonic() - since - self._mean_seconds)
        self._hand_over()

    def _hand_over(self) -> None:
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.busy -= 1
