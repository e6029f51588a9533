"""What the routes call: it answers questions for a caller, and stores what belongs to the answer."""

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
from llmkit.serve.auth.api_keys import KeyStore
from llmkit.serve.auth.principal import Principal
from llmkit.serve.errors import HttpError
from llmkit.serve.runtime.job_runner import Job, JobRunner
from llmkit.serve.runtime.knowledge_pool import NO_DOCUMENTS, KnowledgePool
from llmkit.serve.runtime.metrics import Metrics
from llmkit.serve.runtime.pipeline_registry import PipelineRegistry
from llmkit.serve.runtime.upload_reader import UploadReader
from llmkit.serve.settings import Settings
from llmkit.serve.storage.caller_stores import CallerStores
from llmkit.serve.storage.pending_approvals import PendingApproval
from llmkit.serve.storage.private_files import restrict_folder
from llmkit.serve.storage.traces import new_trace_id
from llmkit.serve.storage.uploads import UploadStore
from llmkit.types import Event, Message, State


@dataclass(frozen=True, slots=True)
class RunResult:
    """The result of a run for a client."""

    state: State
    trace: str
    """Id of the trace; empty where the run waits for approval."""
    pipeline: str
    turn: int = 0
    """Number of the turn in its conversation, from 1; 0 outside one."""
    approval: PendingApproval | None = None
    """The calls that wait for a person; there is no answer yet."""


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What a run left, and the conversation and turn it was stored as."""

    state: State
    session: str = ""
    turn: int = 0
    approval: PendingApproval | None = None


_Work = Callable[[Pipeline, Listener], _Outcome]


class Service:
    """The server behind its routes. Create it in the event loop that serves.

    Args:
        settings: settings of the server.
        registry: the pipelines to serve; None loads those that the settings name.

    Raises:
        DataError: the data folder cannot be used.
        ConfigError: a pipeline, or the endpoint for telemetry, cannot be used.
    """

    def __init__(self, settings: Settings, registry: PipelineRegistry | None = None) -> None:
        self.settings = settings
        data = settings.data.expanduser()
        restrict_folder(data)
        self.registry = registry or PipelineRegistry.load(
            settings.pipelines, settings.overrides, KnowledgePool(settings.knowledge), settings.slots
        )
        self.knowledge = self.registry.knowledge
        self.keys = KeyStore(data)
        self.stores = CallerStores(settings)
        self.runner = JobRunner(settings.slots, settings.max_waiting)
        self.metrics = Metrics(self.runner.admission)
        spans.current()  # reports a wrong telemetry endpoint now, and not at the first question
        self.uploads = UploadStore(settings)
        self.upload_reader = UploadReader(settings, self.uploads, self.knowledge)
        self.stopping = False
        self._loop = asyncio.get_running_loop()

    def start_answer(
        self,
        caller: Principal,
        model: str,
        question: str,
        history: Sequence[Message] = (),
        *,
        request_id: str = "",
        discard_events: bool = False,
    ) -> Job[RunResult]:
        """Start to answer a question outside a conversation.

        Args:
            caller: who asks.
            model: name of the pipeline.
            question: the question.
            history: earlier messages.
            request_id: id of the HTTP request.
            discard_events: drop the events of the run, where only the result is needed.

        Raises:
            HttpError: the model is unknown, there are no documents, the question is too long, or the queue is full.
            DataError: the question is empty.
        """
        self._check_question(model, question)

        def work(pipeline: Pipeline, listener: Listener) -> _Outcome:
            return _Outcome(pipeline.run(question, history=history, on_event=listener))

        return self._submit(caller, model, question, work, request_id, discard_events=discard_events)

    def start_turn(
        self,
        caller: Principal,
        session: str,
        model: str,
        question: str,
        *,
        request_id: str = "",
        attended: bool = False,
    ) -> Job[RunResult]:
        """Start the next turn of a conversation. The turn is stored once its answer is complete.

        Args:
            caller: who asks.
            session: name of the conversation. A turn of it that waits for approval is given up.
            model: name of the pipeline.
            question: the question.
            request_id: id of the HTTP request.
            attended: whether somebody is there to decide on calls, so that the result may be a pending approval.

        Raises:
            HttpError: the model is unknown, there are no documents, the question is too long, or the queue is full.
            DataError: the question is empty.
        """
        self._check_question(model, question)

        def work(pipeline: Pipeline, listener: Listener) -> _Outcome:
            store = self.stores.for_caller(caller)
            if store.approvals.drop(session):
                listener(Event("note", step="chat", text="the calls that waited for your decision were given up"))
            chat = ChatSession(pipeline, store.sessions, session)
            return self._finish_turn(
                caller, chat, model, lambda: chat.ask(question, on_event=listener, attended=attended)
            )

        return self._submit(caller, model, question, work, request_id)

    def resume_turn(
        self, caller: Principal, session: str, approval: str, decisions: Sequence[Decision], *, request_id: str = ""
    ) -> Job[RunResult]:
        """Resume a turn that waits for approval.

        Args:
            caller: who decides.
            session: name of the conversation.
            approval: id of the pending approval.
            decisions: one decision for each call, in order.
            request_id: id of the HTTP request.

        Raises:
            HttpError: nothing of that id waits, it cannot be resumed, or the number of decisions is wrong.
        """
        pending = self._pending_approval(caller, session, approval)
        calls = len(pending.needed.requests)
        if calls != len(decisions):
            raise HttpError(422, f"{calls} calls wait for a decision, but {len(decisions)} decisions were sent")
        question = pending.row()["question"]
        self._check_question(pending.pipeline, question)

        def work(pipeline: Pipeline, listener: Listener) -> _Outcome:
            store = self.stores.for_caller(caller)
            chat = ChatSession(pipeline, store.sessions, session)
            if not store.approvals.claim(session, approval):
                raise HttpError(409, "somebody else has decided on these calls", code="decided")
            if len(chat.turns) != pending.turns:
                raise HttpError(409, "the conversation has gone on since these calls were proposed", code="decided")
            return self._finish_turn(
                caller, chat, pending.pipeline, lambda: chat.decide(pending.needed, decisions, on_event=listener)
            )

        return self._submit(caller, pending.pipeline, question, work, request_id)

    def pending_approval(self, caller: Principal, session: str) -> PendingApproval | None:
        """Return the turn of a conversation that waits for approval.

        A turn that began before the server was restarted is given up where its agent has no memory on disk.
        """
        approvals = self.stores.for_caller(caller).approvals
        pending = approvals.get(session)
        if pending is None or pending.of_this_process or self._has_stored_memory(pending):
            return pending
        approvals.claim(session, pending.id)
        return None

    def begin_shutdown(self) -> None:
        """Refuse new questions, and stop running ones when the grace period ends. Safe to call in a signal handler."""
        self.stopping = True
        self._loop.call_soon_threadsafe(self._loop.call_later, self.settings.grace, self.runner.stop)

    async def close(self) -> None:
        """Let running answers finish within the grace period, and close all files."""
        grace = 0.0 if self.stopping else self.settings.grace
        self.stopping = True
        await self.runner.close(grace)
        self.upload_reader.close()
        self.uploads.close()
        self.stores.close()
        self.knowledge.close()
        exporter = spans.current()
        if exporter is not None:
            exporter.flush()

    def _check_question(self, model: str, question: str) -> None:
        """Refuse a question that cannot be answered now."""
        pipeline = self.registry.get(model)
        if self.stopping:
            raise HttpError(503, "the server is being stopped", retry_after=5)
        if not question.strip():
            raise DataError("the question is empty")
        limit = self.settings.max_question
        if len(question) > limit:
            raise HttpError(413, f"the question has {len(question)} characters, and the limit is {limit}")
        if pipeline.reads_knowledge and not self.knowledge.exists:
            raise HttpError(409, NO_DOCUMENTS)

    def _pending_approval(self, caller: Principal, session: str, approval: str) -> PendingApproval:
        pending = self.pending_approval(caller, session)
        if pending is None or pending.id != approval:
            raise HttpError(
                404,
                f"no calls wait under the id {approval} in this conversation: they were decided on or given up, or "
                "the server was restarted and their agent has no memory on disk",
            )
        return pending

    def _has_stored_memory(self, pending: PendingApproval) -> bool:
        """Return whether the step that waits keeps its memory in a file."""
        pipeline = self.registry.pipelines.get(pending.pipeline)
        if pipeline is None or pending.needed.step >= len(pipeline.steps):
            return False
        return getattr(pipeline.steps[pending.needed.step], "memory", None) is not None

    def _finish_turn(self, caller: Principal, chat: ChatSession, model: str, run_turn: Callable[[], State]) -> _Outcome:
        """Run a turn, or store the calls that it waits for."""
        try:
            return _Outcome(run_turn(), chat.name, chat.turns[-1].n)
        except ApprovalNeeded as needed:
            approvals = self.stores.for_caller(caller).approvals
            pending = approvals.put(chat.name, model, len(chat.turns), needed)
            return _Outcome(needed.state or State(""), chat.name, approval=pending)

    def _submit(
        self,
        caller: Principal,
        model: str,
        question: str,
        work: _Work,
        request_id: str,
        *,
        discard_events: bool = False,
    ) -> Job[RunResult]:
        submitted = time.time()

        def run(listener: Listener) -> RunResult:
            spans.REQUEST.set(request_id)
            first_token: list[float] = []

            def listen(event: Event) -> None:
                if event.kind == "token" and event.text and not first_token:
                    first_token.append(time.time() - submitted)
                listener(event)

            with self.metrics.measure_run(model) as waits_for_approval:
                with self.registry.lease(model, caller.reader) as pipeline:
                    outcome = work(pipeline, listen)
                if outcome.approval is not None:
                    waits_for_approval()
                    return RunResult(outcome.state, "", model, approval=outcome.approval)
                trace = new_trace_id()
                self.stores.for_caller(caller).traces.add(
                    trace, model, outcome.state, question=question.strip(), session=outcome.session, turn=outcome.turn
                )
                self.metrics.record_answer(model, outcome.state, first_token[0] if first_token else None)
            return RunResult(outcome.state, trace, model, outcome.turn)

        return self.runner.submit(run, discard_events=discard_events)
