"""What the routes call: questions answered for a caller, with everything that is kept of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llmkit.errors import DataError
from llmkit.pipeline.chat import ChatSession
from llmkit.pipeline.pipeline import Pipeline
from llmkit.pipeline.run import Listener
from llmkit.serve.callers import Caller, Refused
from llmkit.serve.drawers import Drawers
from llmkit.serve.keys import KeyRing
from llmkit.serve.menu import Menu, looks_up
from llmkit.serve.metrics import Metrics
from llmkit.serve.running import Kitchen, Order
from llmkit.serve.settings import Settings
from llmkit.serve.shelf import Shelf
from llmkit.serve.spans import Spans
from llmkit.serve.traces import new_id
from llmkit.serve.uploads import Uploads
from llmkit.types import Event, Message, State

_Work = Callable[[Pipeline, Listener], tuple[State, str, int]]
"""Runs a pipeline; returns the state, and the conversation and turn it was kept as."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What came of a question."""

    state: State
    trace: str
    """Id of its trace."""
    pipeline: str
    turn: int = 0
    """Number in its conversation; 0 outside one."""


class Service:
    """Everything behind the routes; made in the event loop that serves."""

    def __init__(self, settings: Settings, menu: Menu | None = None) -> None:
        self.settings = settings
        self.menu = menu or Menu.read(settings.pipelines, settings.overrides, Shelf(settings.knowledge), settings.slots)
        self.shelf = self.menu.shelf
        self.keys = KeyRing(settings.data.expanduser())
        self.drawers = Drawers(settings)
        self.kitchen = Kitchen(settings.slots, settings.waiting)
        self.metrics = Metrics(self.kitchen.turnstile)
        self.spans = Spans.from_environment()
        self.uploads = Uploads(settings, self.shelf)
        self.stopping = False
        self._loop = asyncio.get_running_loop()

    def ask(
        self,
        caller: Caller,
        model: str,
        question: str,
        history: Sequence[Message] = (),
        *,
        request: str = "",
        quiet: bool = False,
    ) -> Order[Answered]:
        """Begin to answer a question; `quiet`: nobody listens to what happens meanwhile.

        Raises:
            Refused: an unknown model, no documents, too long, or too much to do.
        """
        self._check(model, question)

        def work(pipeline: Pipeline, listen: Listener) -> tuple[State, str, int]:
            return pipeline.run(question, history=history, on_event=listen), "", 0

        return self._order(caller, model, question, work, request, quiet=quiet)

    def go_on(self, caller: Caller, session: str, model: str, question: str, *, request: str = "") -> Order[Answered]:
        """Begin to answer the next question of a conversation; the turn is kept where the answer is whole.

        Raises:
            Refused: an unknown model, no documents, too long, or too much to do.
        """
        self._check(model, question)

        def work(pipeline: Pipeline, listen: Listener) -> tuple[State, str, int]:
            chat = ChatSession(pipeline, self.drawers.of(caller).sessions, session)
            state = chat.ask(question, on_event=listen)
            return state, session, chat.turns[-1].n

        return self._order(caller, model, question, work, request)

    def stop_soon(self) -> None:
        """Answer nothing new; stop what still runs when the grace is over. May be called from a signal's handler."""
        self.stopping = True
        self._loop.call_soon_threadsafe(self._loop.call_later, self.settings.grace, self.kitchen.stop)

    async def close(self) -> None:
        """Let running answers end within the grace that is set, and close all files."""
        grace = 0.0 if self.stopping else self.settings.grace
        self.stopping = True
        await self.kitchen.close(grace)
        self.uploads.close()
        self.drawers.close()
        self.shelf.close()
        self.spans.close()

    def _check(self, model: str, question: str) -> None:
        pipeline = self.menu.find(model)
        if self.stopping:
            raise Refused(503, "the server is being stopped", retry_after=5)
        if not question.strip():
            raise DataError("the question is empty")
        if len(question) > self.settings.max_question:
            raise Refused(413, f"the question has {len(question)} characters, at most {self.settings.max_question} go")
        if looks_up(pipeline) and not self.shelf.there:
            raise Refused(409, "there are no documents yet: add some on the page, or by POST /api/knowledge/files")

    def _order(
        self, caller: Caller, model: str, question: str, work: _Work, request: str, *, quiet: bool = False
    ) -> Order[Answered]:
        ordered = time.time()

        def run(listen: Listener) -> Answered:
            started = time.time()
            first: list[float] = []

            def hear(event: Event) -> None:
                if event.kind == "token" and event.text and not first:
                    first.append(time.time() - ordered)
                listen(event)

            with self.spans.run(model, started, request) as told, self.metrics.run(model):
                with self.menu.lease(model, caller.reader) as pipeline:
                    state, session, n = work(pipeline, hear)
                told(state)
                name = new_id()
                traces = self.drawers.of(caller).traces
                traces.add(name, model, state, asked=question.strip(), session=session, n=n)
                self.metrics.answered(model, state, first[0] if first else None)
            return Answered(state, name, model, n)

        return self.kitchen.order(run, quiet=quiet)
