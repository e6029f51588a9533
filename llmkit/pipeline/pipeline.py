"""A pipeline: a list of steps over an immutable State."""

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
from llmkit.knowledge.filters.where import parse
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
    """Steps in order, a default model and a knowledge base, as described by a file in ``pipelines/``."""

    name: str
    """Name of the pipeline in tables and run folders."""
    description: str = ""
    """One sentence about what it does."""
    model: ModelField | None = None
    """Chat model of steps that do not name one."""
    knowledge: str = ".llmkit/kb"
    """Folder of the knowledge base."""
    steps: tuple[Annotated[Step, one_of("step")], ...] = Field(min_length=1)
    """The steps in order; each is a word or a mapping with 'type'."""

    @model_validator(mode="after")
    def _check_order(self) -> Pipeline:
        available = {"question", "history"}
        for index, step in enumerate(self.steps):
            for need in sorted(step.needs - available):
                providers = [other.type for other in self.steps[index + 1 :] if need in other.gives]
                hint = f"; move {providers[0]} before it" if providers else ""
                raise ValueError(f"steps[{index}] {step.type} needs {need!r}; no earlier step gives it{hint}")
            available |= step.gives
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
        """Answer one question.

        Args:
            question: the question.
            history: earlier turns of the conversation.
            inputs: values for verifiers and prompts, as in ``{"concepts": [...]}``.
            on_event: called with each event of the run.
            caller: who runs the pipeline, and whether a person can approve tool calls.

        Raises:
            DataError: the question is empty or no string, or the history contains something other than messages.
            StepError: a step failed; the error names the step and chains the cause.
            ApprovalNeeded: an agent waits for the `caller` to decide; continue with :meth:`decide`.
        """
        if not isinstance(question, str):
            raise DataError(f"question is {type(question).__name__}: run takes one question, batch takes many")
        if not question.strip():
            raise DataError("the question is empty")
        for message in many(history, "history"):
            if not isinstance(message, Message):
                raise DataError(f"history contains {type(message).__name__}: write Message(role='user', content='…')")
        state = State(question=question.strip(), history=tuple(history), inputs=dict(inputs or {}))
        return self.resume(state, 0, on_event=on_event, caller=caller)

    def decide(
        self, needed: ApprovalNeeded, decisions: Sequence[Decision], *, on_event: Listener | None = None
    ) -> State:
        """Continue a run that waits for approval, with one decision for each request.

        Raises:
            ApprovalNeeded: the run waits again.
            StepError: a step failed, or the decisions do not match the requests.
        """
        if needed.state is None:
            raise DataError("this ApprovalNeeded was not raised by a pipeline: it has no state to continue from")
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
        """Run the steps from position `start` up to `stop`, or to the end, on a given state.

        This replays a run from its trace, or shows what other passages would have changed.

        Raises:
            StepError: a step failed; the error names the step and chains the cause.
        """
        context = RunContext(self, on_event, caller)
        with spans.record_run(self.name, len(state.records)) as record_steps:
            for index, step in enumerate(self.steps[start:stop], start):
                state = context.step(index, step, state)
            record_steps(state)
        if stop is None:
            context.emit(Event("done", step="pipeline", data={"state": state}))
        return state

    def batch(self, questions: Sequence[str]) -> list[State]:
        """Answer many questions in order and raise the first failure."""
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
        """Answer in a worker thread and yield the events; the last one is ``done`` with the state.

        Closing the iterator stops the run at its next event.
        """

        def work(listen: Listener) -> None:
            self.run(question, history=history, inputs=inputs, on_event=listen, caller=caller)

        return self._stream(work)

    def stream_decided(self, needed: ApprovalNeeded, decisions: Sequence[Decision]) -> Iterator[Event]:
        """:meth:`decide` as events."""

        def work(listen: Listener) -> None:
            self.decide(needed, decisions, on_event=listen)

        return self._stream(work)

    def _stream(self, run: Callable[[Listener], None]) -> Iterator[Event]:
        events: queue.Queue[Event | BaseException | None] = queue.Queue()
        stopped = threading.Event()

        def listen(event: Event) -> None:
            if stopped.is_set():
                raise Cancelled("the reader of the stream has gone")
            events.put(event)

        def work() -> None:
            try:
                run(listen)
                events.put(None)
            except BaseException as error:  # raised again in the reader's thread
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
        """Whether one of its steps reads the knowledge base."""
        return any("hits" in step.gives and getattr(step, "reads_knowledge", True) for step in self.steps)

    def open_knowledge(self) -> KnowledgeBase:
        """The knowledge base, opened on first use."""
        with self._lock:
            return self._knowledge

    def chat_model(self, spec: object = None) -> BaseChatModel:
        """The chat model of `spec`, or the pipeline's default model; each is loaded once.

        Raises:
            ConfigError: neither the step nor the pipeline names a model.
            ModelError: the model cannot be loaded.
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
        """Digest of the first `steps` steps: settings, prompts and models, without the knowledge base."""
        with self._lock:
            if steps not in self._identities:
                from llmkit.pipeline.digest import digest_of_steps

                first = self.replace(steps=self.steps[:steps])
                configs = [step.config() for step in first.steps if isinstance(step, Part)]
                self._identities[steps] = digest_of_steps(first, configs)
            return self._identities[steps]

    def with_knowledge(self, kb: Knowledge) -> Pipeline:
        """The same pipeline over a knowledge base that is already open."""
        return self._changed({"knowledge": str(kb.path)}, _knowledge=kb)

    def as_reader(self, reader: str | Iterable[str]) -> Pipeline:
        """The same pipeline for a reader with these access labels, who sees no other documents.

        Raises:
            DataError: a label is malformed.
        """
        return self.with_knowledge(self.open_knowledge().as_reader(reader))

    def with_models(self, load: Callable[[ChatModelSpec], BaseChatModel]) -> Pipeline:
        """The same pipeline with chat models that `load` makes, for instance from a cache or a recording."""
        return self._changed({}, _load_chat=load)

    def with_filter(self, where: str) -> Pipeline:
        """The same pipeline, its retrieval limited to passages that pass the filter.

        Raises:
            ConfigError: the filter cannot be parsed, or no step takes a filter.
        """
        parsed = parse(where)
        steps = [
            step.replace(where=parsed) if isinstance(step, Part) and "where" in type(step).model_fields else step
            for step in self.steps
        ]
        if all(new is old for new, old in zip(steps, self.steps, strict=True)):
            raise ConfigError(f"pipeline {self.name!r} has no step that takes a filter")
        return self._changed({"steps": steps})

    def _changed(self, fields: dict[str, object], **state: object) -> Pipeline:
        """A copy with other fields that keeps the open knowledge base and the model loader."""
        pipeline = self.replace(**fields)
        kept = {name: self.__dict__[name] for name in ("_knowledge", "_load_chat") if name in self.__dict__}
        if "knowledge" in fields:
            kept.pop("_knowledge", None)
        pipeline.__dict__.update(kept | state)
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
    """Load a pipeline from a file.

    Args:
        name: a name in ``pipelines/``, as in ``docs-qa``, or a path, as in ``pipelines/mine.yaml``.
        overrides: settings to change, each ``path=value``, as in ``steps.retrieve.k=20``.
        knowledge: the knowledge base to use instead of the one in the file: its folder, or an open one.

    Raises:
        ConfigError: the file has errors; the message lists each with its line.
    """
    many_texts(overrides, "overrides")
    loaded = config.read(assets.find("pipelines", str(name))).override(overrides)
    if knowledge is not None and not isinstance(knowledge, str | Path):
        return loaded.build(Pipeline).with_knowledge(knowledge)
    if knowledge is not None:
        loaded = config.Config({**loaded.values, "knowledge": str(knowledge)}, loaded.source, loaded.places)
    return loaded.build(Pipeline)
