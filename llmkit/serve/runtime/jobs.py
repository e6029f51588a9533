"""A run in a thread, its events in the event loop; it ends early when nobody listens any more."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, TypeAlias, TypeVar

from llmkit.errors import Cancelled
from llmkit.pipeline.run_context import Listener
from llmkit.serve.runtime.admission_queue import Turnstile
from llmkit.stopping import unless
from llmkit.types import Event

Done = TypeVar("Done")
Work: TypeAlias = Callable[[Listener], Done]
"""Does the work, tells what happens, and returns what came of it."""


class Kitchen:
    """Threads that run pipelines, as many as the turnstile has slots."""

    def __init__(self, slots: int, waiting: int) -> None:
        self.turnstile = Turnstile(slots, waiting)
        self._threads = ThreadPoolExecutor(slots, thread_name_prefix="llmkit run")
        self._orders: set[Order[Any]] = set()

    def order(self, work: Work[Done], *, quiet: bool = False) -> Order[Done]:
        """Begin a run, or put it in line.

        Args:
            work: what is to be done.
            quiet: nobody listens to its events; only its result is waited for.

        Raises:
            Refused: the line is full.
        """
        self.turnstile.check()
        order = Order(work, self.turnstile, self._threads, quiet=quiet)
        self._orders.add(order)
        order.task.add_done_callback(lambda _: self._orders.discard(order))
        return order

    async def close(self, grace: float) -> None:
        """Let what runs end, for so many seconds; then stop it."""
        if self._orders:
            await asyncio.wait([order.task for order in self._orders], timeout=grace)
        self.stop()
        if self._orders:
            await asyncio.wait([order.task for order in self._orders], timeout=2)
        self._threads.shutdown(wait=False, cancel_futures=True)

    def stop(self) -> None:
        """Stop every run at its next event; who waits for one is told."""
        for order in list(self._orders):
            order.stop()

    @property
    def stuck(self) -> bool:
        """Whether a run goes on that was told to stop: a model that says nothing for long."""
        return bool(self._orders)


class Order(AsyncIterator[Event], Generic[Done]):
    """One run: iterate over its events, then ask for its :meth:`result`.

    A slot is held until the thread has ended, not until the client has gone: a model that cannot be stopped at once
    must not be asked by more threads than there are slots.
    """

    def __init__(
        self, work: Work[Done], turnstile: Turnstile, threads: ThreadPoolExecutor, *, quiet: bool = False
    ) -> None:
        self._work, self._turnstile, self._threads, self._quiet = work, turnstile, threads, quiet
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[Event | None] = asyncio.Queue()
        self._told: deque[Event] = deque()
        self._woken = False
        self._stopped = threading.Event()
        self._in_line = True
        self.task = asyncio.create_task(self._drive())
        self.task.add_done_callback(_seen)

    def stop(self) -> None:
        """End the run at its next event, or take it out of the line; whoever iterates sees the end now."""
        self._stopped.set()
        if self._in_line:
            self.task.cancel()
        self._events.put_nowait(None)

    async def __anext__(self) -> Event:
        event = await self._events.get()
        if event is None:
            raise StopAsyncIteration
        return event

    async def result(self) -> Done:
        """What came of it.

        Raises:
            Cancelled: it was stopped.
            Exception: what went wrong in the run.
        """
        if self._stopped.is_set():
            raise Cancelled("the run was stopped")
        return await asyncio.shield(self.task)

    async def _drive(self) -> Done:
        since = await self._turnstile.enter()
        self._in_line = False
        try:
            return await self._loop.run_in_executor(self._threads, self._run)
        finally:
            self._turnstile.leave(since)
            self._take()
            self._events.put_nowait(None)

    def _run(self) -> Done:
        self._listen_still()
        with unless(self._stopped.is_set):  # a model asks while it reads its prompt, and in calls that tell no tokens
            return self._work(self._tell)

    def _tell(self, event: Event) -> None:
        self._listen_still()
        if self._quiet or event.kind == "done":  # what is done is the result
            return
        self._told.append(event)
        if not self._woken:  # a loop that is busy is woken once for many tokens
            self._woken = True
            self._loop.call_soon_threadsafe(self._take)

    def _take(self) -> None:
        self._woken = False
        while self._told:
            self._events.put_nowait(self._told.popleft())

    def _listen_still(self) -> None:
        if self._stopped.is_set():
            raise Cancelled("the client has gone")


def _seen(task: asyncio.Task[Any]) -> None:
    """Look at what went wrong, so that asyncio does not log it where nobody asks any more."""
    if not task.cancelled():
        task.exception()
