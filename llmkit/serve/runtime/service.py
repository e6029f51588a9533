"""What the routes call: questions answered for a caller, with everything that is kept of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llmkit.approval import ApprovalNeeded, Decision
from llmkit.errors import DataError
from llmkit.pipeline.chat.session import ChatSession
from llmkit.pipeline.pipeline import Pipeline
from llmkit.pipeline.run_context import Listener
from llmkit.pipeline.telemetry import spans
from llmkit.serve.auth.api_keys import KeyRing
from llmkit.serve.auth.principal import Caller, Refused
from llmkit.serve.runtime.jobs import Kitchen, Order
from llmkit.serve.runtime.knowledge_pool import Shelf
from llmkit.serve.runtime.metrics import Metrics
from llmkit.serve.runtime.pipeline_registry import Menu
from llmkit.serve.settings import Settings
from llmkit.serve.storage.caller_stores import Drawers
from llmkit.serve.storage.pending_approvals import Wait
from llmkit.serve.storage.traces import new_id
from llmkit.serve.storage.uploads import Uploads
from llmkit.types import Event, Message, State


@dataclass(frozen=True, slots=True)
class Answered:
    """What came of a question."""

    state: State
    trace: str
    """Id of its trace."""
    pipeline: str
    turn: int = 0
    """Number in its conversation; 0 outside one."""
    wait: Wait | None = None
    """Calls that wait for a person: there is no answer and no trace yet."""


@dataclass(frozen=True, slots=True)
class _Done:
    """What a run left, and the conversation and turn it was kept as."""

    state: State
    session: str = ""
    turn: int = 0
    wait: Wait | None = None


_Work = Callable[[Pipeline, Listener], _Done]


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
        spans.current()  # an endpoint that cannot be told is an error now, not at a question
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

        def work(pipeline: Pipeline, listen: Listener) -> _Done:
            return _Done(pipeline.run(question, history=history, on_event=listen))

        return self._order(caller, model, question, work, request, quiet=quiet)

    def go_on(
        self, caller: Caller, session: str, model: str, question: str, *, request: str = "", attended: bool = False
    ) -> Order[Answered]:
        """Begin to answer the next question of a conversation; the turn is kept where the answer is whole.

        Args:
            caller: who asks.
            session: name of the conversation; what waits in it for a decision is given up.
            model: name of the pipeline.
            question: to be answered.
            request: id of the request.
            attended: whether somebody is there to decide on calls; what comes then may be a :class:`Wait`.

        Raises:
            Refused: an unknown model, no documents, too long, or too much to do.
        """
        self._check(model, question)

        def work(pipeline: Pipeline, listen: Listener) -> _Done:
            drawer = self.drawers.of(caller)
            if drawer.waits.drop(session):
                listen(Event("note", step="chat", text="calls that waited for a decision were given up"))
            chat = ChatSession(pipeline, drawer.sessions, session)
            return self._turn(caller, chat, model, lambda: chat.ask(question, on_event=listen, attended=attended))

        return self._order(caller, model, question, work, request)

    def decide(
        self, caller: Caller, session: str, name: str, decisions: Sequence[Decision], *, request: str = ""
    ) -> Order[Answered]:
        """Go on with a turn that waits.

        Raises:
            Refused: nothing waits under that name, it cannot be gone on with, or not one decision a call.
        """
        wait = self._waiting(caller, session, name)
        asked = len(wait.needed.requests)
        if asked != len(decisions):
            raise Refused(422, f"{asked} calls wait for a decision, {len(decisions)} decisions were given")
        question = wait.row()["question"]
        self._check(wait.pipeline, question)

        def work(pipeline: Pipeline, listen: Listener) -> _Done:
            drawer = self.drawers.of(caller)
            chat = ChatSession(pipeline, drawer.sessions, session)
            if not drawer.waits.take(session, name):
                raise Refused(409, "somebody else decided on these calls", code="decided")
            if len(chat.turns) != wait.turns:
                raise Refused(409, "the conversation went on since these calls were asked for", code="decided")
            return self._turn(caller, chat, wait.pipeline, lambda: chat.decide(wait.needed, decisions, on_event=listen))

        return self._order(caller, wait.pipeline, question, work, request)

    def waiting(self, caller: Caller, session: str) -> Wait | None:
        """What waits in a conversation; what this process cannot go on with any more is given up."""
        waits = self.drawers.of(caller).waits
        wait = waits.find(session)
        if wait is None or wait.here or self._remembers(wait):
            return wait
        waits.take(session, wait.id)
        return None

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
        told = spans.current()
        if told is not None:
            told.flush()

    def _check(self, model: str, question: str) -> None:
        pipeline = self.menu.find(model)
        if self.stopping:
            raise Refused(503, "the server is being stopped", retry_after=5)
        if not question.strip():
            raise DataError("the question is empty")
        if len(question) > self.settings.max_question:
            raise Refused(413, f"the question has {len(question)} characters, at most {self.settings.max_question} go")
        if pipeline.reads_knowledge and not self.shelf.there:
            raise Refused(409, "there are no documents yet: add some on the page, or by POST /api/knowledge/files")

    def _waiting(self, caller: Caller, session: str, name: str) -> Wait:
        wait = self.waiting(caller, session)
        if wait is None or wait.id != name:
            told = "no calls of that name wait in this conversation: they were decided on or given up"
            raise Refused(404, f"{told}, or their agent keeps no memory over a restart")
        return wait

    def _remembers(self, wait: Wait) -> bool:
        """Whether the step that waits has its memory in a file."""
        steps = self.menu.pipelines[wait.pipeline].steps if wait.pipeline in self.menu.pipelines else ()
        return wait.needed.step < len(steps) and getattr(steps[wait.needed.step], "memory", None) is not None

    def _turn(self, caller: Caller, chat: ChatSession, model: str, made: Callable[[], State]) -> _Done:
        """Make a turn, or keep what it waits for."""
        try:
            return _Done(made(), chat.name, chat.turns[-1].n)
        except ApprovalNeeded as needed:
            wait = self.drawers.of(caller).waits.keep(chat.name, model, len(chat.turns), needed)
            return _Done(needed.state or State(""), chat.name, wait=wait)

    def _order(
        self, caller: Caller, model: str, question: str, work: _Work, request: str, *, quiet: bool = False
    ) -> Order[Answered]:
        ordered = time.time()

        def run(listen: Listener) -> Answered:
            spans.REQUEST.set(request)
            first: list[float] = []

            def hear(event: Event) -> None:
                if event.kind == "token" and event.text and not first:
                    first.append(time.time() - ordered)
                listen(event)

            with self.metrics.run(model) as waits:
                with self.menu.lease(model, caller.reader) as pipeline:
                    done = work(pipeline, hear)
                if done.wait is not None:
                    waits()
                    return Answered(done.state, "", model, wait=done.wait)
                name = new_id()
                traces = self.drawers.of(caller).traces
                traces.add(name, model, done.state, asked=question.strip(), session=done.session, n=done.turn)
                self.metrics.answered(model, done.state, first[0] if first else None)
            return Answered(done.state, name, model, done.turn)

        return self.kitchen.order(run, quiet=quiet)
