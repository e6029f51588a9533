"""A pipeline is a list of steps over an immutable State."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, model_validator

from llmkit import assets, config
from llmkit.approval import ApprovalNeeded, Caller, Decision
from llmkit.arguments import many, many_texts
from llmkit.errors import Cancelled, ConfigError, DataError
from llmkit.knowledge.filters.expression import parse
from llmkit.models.chat import ChatModelSpec, load_chat
from llmkit.part import Part
from llmkit.pipeline.run_context import Listener, RunContext
from llmkit.pipeline.telemetry import spans
from llmkit.protocols import Knowledge, Step
from llmkit.registry import one_of
from llmkit.types import Event, Message, Metadata, State

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from llmkit.knowledge.knowledge_base import KnowledgeBase

ModelField = Annotated[ChatModelSpec, Field(description="A chat model: 'local:smollm2', or a mapping with 'model'.")]


class Pipeline(Part):
    """Steps in order, a default model and a knowledge base: what a file in ``pipelines/`` describes."""

    name: str
    """What the pipeline is called in tables and run folders."""
    description: str = ""
    """One sentence for people."""
    model: ModelField | None = None
    """Chat model of the steps that name none."""
    knowledge: str = ".llmkit/kb"
    """Folder of the knowledge base."""
    steps: tuple[Annotated[Step, one_of("step")], ...] = Field(min_length=1)
    """What is done, in order; each is a word or a mapping with 'type'."""

    @model_validator(mode="after")
    def _in_order(self) -> Pipeline:
        given = {"question", "history"}
        for index, step in enumerate(self.steps):
            for need in sorted(step.needs - given):
                givers = [other.type for other in self.steps[index + 1 :] if need in other.gives]
                hint = f"; move {givers[0]} before it" if givers else ""
                raise ValueError(f"steps[{index}] {step.type} needs {need!r}; no earlier step gives it{hint}")
            given |= step.gives
        return self

    def run(
        self,
        question: str,
        *,
        history: Sequence[Message] = (),
        inputs: Metadata | None = None,
        on_event: Listener | None = None,
        caller: Caller | None = None,
    ) -> State:
        """Answer one question; `inputs` are what verifiers check by, as ``{"concepts": [...]}``.

        Raises:
            DataError: a question that is empty or no string, or a history that holds no messages.
            StepError: a step failed; says which, the cause is chained.
            ApprovalNeeded: an agent waits, and the `caller` is there to decide; go on with :meth:`decide`.
        """
        if not isinstance(question, str):
            raise DataError(f"question is {type(question).__name__}: run takes one question, batch takes many")
        if not question.strip():
            raise DataError("the question is empty")
        for message in many(history, "history"):
            if not isinstance(message, Message):
                raise DataError(f"history holds {type(message).__name__}: write Message(role='user', content='…')")
        state = State(question=question.strip(), history=tuple(history), inputs=dict(inputs or {}))
        return self.resume(state, 0, on_event=on_event, caller=caller)

    def decide(
        self, needed: ApprovalNeeded, decisions: Sequence[Decision], *, on_event: Listener | None = None
    ) -> State:
        """Go on with a run that waits, one decision a request.

        Raises:
            ApprovalNeeded: it waits again.
            StepError: a step failed, or the decisions do not fit what is waited for.
        """
        if needed.state is None:
            raise DataError("this did not come from a pipeline that waits")
        caller = Caller(needed.thread, attended=True, decisions=tuple(decisions), spent=needed.spent)
        return self.resume(needed.state, needed.step, on_event=on_event, caller=caller)

    def resume(
        self,
        state: State,
        start: int,
        stop: int | None = None,
        *,
        on_event: Listener | None = None,
        caller: Caller | None = None,
    ) -> State:
        """Go on from a state with the steps from position `start` up to `stop`, or to the end.

        Replays a run from its trace, or shows what better passages would have changed.

        Raises:
            StepError: a step failed; says which, the cause is chained.
        """
        run = RunContext(self, on_event, caller)
        with spans.run(self.name, len(state.records)) as told:
            for index, step in enumerate(self.steps[start:stop], start):
                state = run.step(index, step, state)
            told(state)
        if stop is None:
            run.emit(Event("done", step="pipeline", data={"state": state}))
        return state

    def batch(self, questions: Sequence[str]) -> list[State]:
        """Answer many questions in order; the first failure is raised."""
        many_texts(questions, "questions")
        return [self.run(question) for question in questions]

    def stream(
        self,
        question: str,
        *,
        history: Sequence[Message] = (),
        inputs: Metadata | None = None,
        caller: Caller | None = None,
    ) -> Iterator[Event]:
        """Answer in a worker thread and yield what happens; the last event is ``done`` with the state.

        Closing the iterator stops the run at its next event.
        """

        def work(listen: Listener) -> None:
            self.run(question, history=history, inputs=inputs, on_event=listen, caller=caller)

        return self._streamed(work)

    def stream_decided(self, needed: ApprovalNeeded, decisions: Sequence[Decision]) -> Iterator[Event]:
        """:meth:`decide` as events."""

        def work(listen: Listener) -> None:
            self.decide(needed, decisions, on_event=listen)

        return self._streamed(work)

    def _streamed(self, made: Callable[[Listener], None]) -> Iterator[Event]:
        events: queue.Queue[Event | BaseException | None] = queue.Queue()
        stopped = threading.Event()

        def listen(event: Event) -> None:
            if stopped.is_set():
                raise Cancelled("the reader of the stream has gone")
            events.put(event)

        def work() -> None:
            try:
                made(listen)
                events.put(None)
            except BaseException as error:  # carried to the reader, raised there
                events.put(error)

        worker = threading.Thread(target=work, name=f"llmkit {self.name}", daemon=True)
        worker.start()
        try:
            while (event := events.get()) is not None:
                if isinstance(event, BaseException):
                    raise event
                yield event
        finally:
            stopped.set()
            worker.join()

    async def arun(self, question: str, *, history: Sequence[Message] = (), inputs: Metadata | None = None) -> State:
        """:meth:`run` in a thread, for callers that have an event loop."""
        return await asyncio.to_thread(self.run, question, history=history, inputs=inputs)

    @property
    def reads_knowledge(self) -> bool:
        """Whether a step of it looks into the knowledge base."""
        return any("hits" in step.gives and getattr(step, "reads_knowledge", True) for step in self.steps)

    def open_knowledge(self) -> KnowledgeBase:
        """The knowledge base, opened on first use and kept."""
        with self._lock:
            return self._knowledge

    def chat_model(self, spec: object = None) -> BaseChatModel:
        """The chat model of `spec` or the default one, loaded once.

        Raises:
            ConfigError: no model is named anywhere.
            ModelError: it cannot be loaded.
        """
        chosen = spec or self.model
        if not isinstance(chosen, ChatModelSpec):
            raise ConfigError("no model: give the step or the pipeline one, as in model: local:smollm2")
        name = chosen.digest
        with self._lock:
            if name not in self._models:
                self._models[name] = self._load_chat(chosen)
            return self._models[name]

    def identity(self, steps: int) -> str:
        """Digest of what the first steps say, their settings, prompts and models; the knowledge base is not in it."""
        with self._lock:
            if steps not in self._identities:
                from llmkit.pipeline.digest import up_to

                self._identities[steps] = up_to(self, steps)
            return self._identities[steps]

    def with_knowledge(self, kb: Knowledge) -> Pipeline:
        """The same pipeline over a knowledge base that is already open."""
        return self._changed({"knowledge": str(kb.path)}, _knowledge=kb)

    def as_reader(self, reader: str | Iterable[str]) -> Pipeline:
        """The same pipeline for a reader who holds these labels: what is forbidden to them does not exist.

        Raises:
            DataError: what is no label.
        """
        return self.with_knowledge(self.open_knowledge().as_reader(reader))

    def with_models(self, load: Callable[[ChatModelSpec], BaseChatModel]) -> Pipeline:
        """The same pipeline, its chat models made by `load`: from a cache, from a recording."""
        return self._changed({}, _load_chat=load)

    def with_filter(self, where: str) -> Pipeline:
        """The same pipeline, its retrieval limited to passages that pass.

        Raises:
            ConfigError: the filter cannot be read, or no step takes one.
        """
        wanted = parse(where)
        steps = [
            step.replace(where=wanted) if isinstance(step, Part) and "where" in type(step).model_fields else step
            for step in self.steps
        ]
        if all(new is old for new, old in zip(steps, self.steps, strict=True)):
            raise ConfigError(f"pipeline {self.name!r} has no step that takes a filter")
        return self._changed({"steps": steps})

    def _changed(self, fields: dict[str, object], **given: object) -> Pipeline:
        """A copy with other fields, that keeps what it was given to work with."""
        pipeline = self.replace(**fields)
        kept = {name: self.__dict__[name] for name in ("_knowledge", "_load_chat") if name in self.__dict__}
        if "knowledge" in fields:
            kept.pop("_knowledge", None)
        pipeline.__dict__.update(kept | given)
        return pipeline

    @cached_property
    def _knowledge(self) -> KnowledgeBase:
        from llmkit.knowledge.knowledge_base import KnowledgeBase

        return KnowledgeBase.open(Path(self.knowledge).expanduser())

    @cached_property
    def _load_chat(self) -> Callable[[ChatModelSpec], BaseChatModel]:
        return load_chat

    @cached_property
    def _models(self) -> dict[str, BaseChatModel]:
        return {}

    @cached_property
    def _identities(self) -> dict[int, str]:
        return {}

    @cached_property
    def _lock(self) -> threading.Lock:
        return threading.Lock()


def load_pipeline(
    name: str | Path, overrides: Sequence[str] = (), *, knowledge: str | Path | KnowledgeBase | None = None
) -> Pipeline:
    """Read a pipeline: a path, or a name in ``pipelines/``.

    Args:
        name: ``docs-qa``, ``pipelines/mine.yaml``.
        overrides: ``path=value`` each, as in ``steps.retrieve.k=20``.
        knowledge: another knowledge base than the file names: its folder, or one that is open.

    Raises:
        ConfigError: with every problem of the file and where it stands.
    """
    many_texts(overrides, "overrides")
    found = config.read(assets.find("pipelines", str(name))).override(overrides)
    if knowledge is not None and not isinstance(knowledge, str | Path):
        return found.build(Pipeline).with_knowledge(knowledge)
    if knowledge is not None:
        found = config.Config({**found.values, "knowledge": str(knowledge)}, found.source, found.places)
    return found.build(Pipeline)
