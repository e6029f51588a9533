"""Runs pipelines in threads and passes their events to the event loop. A job ends early when its client leaves."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, TypeAlias, TypeVar

from llmkit.cancellation import cancel_when
from llmkit.errors import Cancelled
from llmkit.pipeline.run_context import Listener
from llmkit.serve.runtime.admission_queue import AdmissionQueue
from llmkit.types import Event

Result = TypeVar("Result")
Work: TypeAlias = Callable[[Listener], Result]
"""A function that does the work of a job, passes events to the listener, and returns the job's result."""


class JobRunner:
    """A pool of threads, as many as the admission queue has slots.

    Args:
        slots: jobs that run at the same time.
        max_waiting: jobs that wait for a slot.
    """

    def __init__(self, slots: int, max_waiting: int) -> None:
        self.admission = AdmissionQueue(slots, max_waiting)
        self._threads = ThreadPoolExecutor(slots, thread_name_prefix="llmkit run")
        self._jobs: set[Job[Any]] = set()

    def submit(self, work: Work[Result], *, discard_events: bool = False) -> Job[Result]:
        """Start a job, or put it into the queue.

        Args:
            work: the work of the job.
            discard_events: drop the job's events, where the caller waits for the result only.

        Raises:
            HttpError: 429, the queue is full.
        """
        self.admission.check_capacity()
        job = Job(work, self.admission, self._threads, discard_events=discard_events)
        self._jobs.add(job)
        job.task.add_done_callback(lambda _: self._jobs.discard(job))
        return job

    async def close(self, grace: float) -> None:
        """Let running jobs finish for `grace` seconds, then stop them."""
        if self._jobs:
            await asyncio.wait([job.task for job in self._jobs], timeout=grace)
        self.stop()
        if self._jobs:
            await asyncio.wait([job.task for job in self._jobs], timeout=2)
        self._threads.shutdown(wait=False, cancel_futures=True)

    def stop(self) -> None:
        """Stop every job at its next event. Whoever waits for its result gets :class:`Cancelled`."""
        for job in list(self._jobs):
            job.stop()

    @property
    def has_unfinished_jobs(self) -> bool:
        """Whether a job still runs. After :meth:`close`, such a job is stuck in a call that does not return."""
        return bool(self._jobs)


class Job(AsyncIterator[Event], Generic[Result]):
    """One run: iterate over its events, then await :meth:`result`.

    A job holds its slot until its thread has ended, even when the client has left before. Otherwise more threads than
    there are slots could call a model that cannot be interrupted.
    """

    def __init__(
        self,
        work: Work[Result],
        admission: AdmissionQueue,
        threads: ThreadPoolExecutor,
        *,
        discard_events: bool = False,
    ) -> None:
        self._work, self._admission, self._threads, self._discard_events = work, admission, threads, discard_events
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[Event | None] = asyncio.Queue()
        self._undelivered: deque[Event] = deque()
        self._delivery_due = False
        self._stopped = threading.Event()
        self._queued = True
        self.task = asyncio.create_task(self._run())
        self.task.add_done_callback(_retrieve_exception)

    def stop(self) -> None:
        """End the job at its next event, or take it out of the queue. Iteration ends at once."""
        self._stopped.set()
        if self._queued:
            self.task.cancel()
        self._events.put_nowait(None)

    async def __anext__(self) -> Event:
        event = await self._events.get()
        if event is None:
            raise StopAsyncIteration
        return event

    async def result(self) -> Result:
        """Wait for the result of the work.

        Raises:
            Cancelled: the job was stopped.
            Exception: whatever the work raised.
        """
        if self._stopped.is_set():
            raise Cancelled("the run was stopped")
        return await asyncio.shield(self.task)

    async def _run(self) -> Result:
        since = await self._admission.acquire()
        self._queued = False
        try:
            return await self._loop.run_in_executor(self._threads, self._run_work)
        finally:
            self._admission.release(since)
            self._deliver()
            self._events.put_nowait(None)

    def _run_work(self) -> Result:
        self._check_stopped()
        # A model asks whether the job was stopped while it reads its prompt, and in calls that do not stream.
        with cancel_when(self._stopped.is_set):
            return self._work(self._emit)

    def _emit(self, event: Event) -> None:
        """Queue an event for the event loop; called in the thread of the work."""
        self._check_stopped()
        if self._discard_events or event.kind == "done":  # the result stands for the event "done"
            return
        self._undelivered.append(event)
        if not self._delivery_due:  # one wake-up delivers all tokens that came while the loop was busy
            self._delivery_due = True
            self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        self._delivery_due = False
        while self._undelivered:
            self._events.put_nowait(self._undelivered.popleft())

    def _check_stopped(self) -> None:
        if self._stopped.is_set():
            raise Cancelled("the client has disconnected")


def _retrieve_exception(task: asyncio.Task[Any]) -> None:
    """Read the exception of a finished task, so that asyncio does not log it where nobody awaits the result."""
    if not task.cancelled():
        task.exception()
