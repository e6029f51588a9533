"""So many runs at a time, so many that wait, and a plain no to the rest."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque

from llmkit.serve.auth.principal import Refused


class Turnstile:
    """Slots with a bounded line before them; belongs to one event loop."""

    def __init__(self, slots: int, waiting: int) -> None:
        self.slots, self.most = slots, waiting
        self.busy = 0
        self._line: deque[asyncio.Future[None]] = deque()
        self._seconds = 1.0  # how long a run holds its slot, lately

    @property
    def waiting(self) -> int:
        """Runs in line."""
        return len(self._line)

    def check(self) -> None:
        """Refuse one more where all slots are taken and the line is full.

        Raises:
            Refused: 429, with the seconds after which it is worth trying again.
        """
        if self.busy >= self.slots and self.waiting >= self.most:
            wait = max(1, math.ceil(self._seconds * (self.waiting + 1) / self.slots))
            raise Refused(
                429,
                f"{self.busy} answers are being made and {self.waiting} wait: try again in {wait} s",
                code="busy",
                retry_after=min(wait, 60),
            )

    async def enter(self) -> float:
        """Wait for a slot; returns when it was had, for :meth:`leave`."""
        if self.busy < self.slots and not self._line:
            self.busy += 1
            return time.monotonic()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it was let in at that very moment
                self._next()
            elif turn in self._line:
                self._line.remove(turn)
            raise
        return time.monotonic()

    def leave(self, since: float) -> None:
        """Give the slot to the next in line."""
        self._seconds += 0.2 * (time.monotonic() - since - self._seconds)
        self._next()

    def _next(self) -> None:
        while self._line:
            turn = self._line.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.busy -= 1
