"""The context of one run: gives the steps their services, times them, and passes events to the listener."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from llmkit import prompts
from llmkit.approval import ApprovalNeeded, Caller
from llmkit.errors import Cancelled, LlmkitError, StepError
from llmkit.models.chat import ChatModelSpec
from llmkit.pipeline.telemetry.current_model import CURRENT_MODEL
from llmkit.protocols import Step, WithholdsText
from llmkit.retry_waits import Wait, on_wait
from llmkit.types import Event, State, StepRecord, Usage

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from llmkit.knowledge.knowledge_base import KnowledgeBase

Listener = Callable[[Event], None]


class Services(Protocol):
    """What a run needs from its pipeline."""

    @property
    def model(self) -> ChatModelSpec | None:
        """The default chat model."""
        ...

    @property
    def steps(self) -> Sequence[Step]:
        """All steps."""
        ...

    def open_knowledge(self) -> KnowledgeBase:
        """The knowledge base."""
        ...

    def chat_model(self, spec: object = None) -> BaseChatModel:
        """The chat model of a spec, or the default one."""
        ...

    def identity(self, steps: int) -> str:
        """Digest of the first steps."""
        ...


class RunContext:
    """The :class:`llmkit.protocols.Context` of one question."""

    def __init__(self, pipeline: Services, listener: Listener | None = None, caller: Caller | None = None) -> None:
        self._pipeline = pipeline
        self.caller = caller or Caller()
        self._listener = listener
        self._place, self._index, self._withheld = "", 0, False
        self._usage = Usage()
        self._detail: dict[str, Any] = {}

    @property
    def knowledge(self) -> KnowledgeBase:
        """The pipeline's knowledge base."""
        return self._pipeline.open_knowledge()

    @property
    def identity(self) -> str:
        """Digest of the steps before the running one: their settings, prompts and models."""
        return self._pipeline.identity(self._index)

    def model(self, spec: object = None) -> BaseChatModel:
        """The chat model of `spec`, or the pipeline's default; its name goes into the record."""
        chosen = spec or self._pipeline.model
        name = getattr(chosen, "model", None)
        CURRENT_MODEL.set(str(name or ""))
        self.record(model=name)
        return self._pipeline.chat_model(spec)

    def prompt(self, ref: str) -> prompts.Prompt:
        """The prompt of a reference; its digest goes into the record."""
        prompt = prompts.load(ref)
        self.record(prompt=prompt.ref, prompt_digest=prompt.digest)
        return prompt

    def emit(self, event: Event) -> None:
        """Pass an event to the listener, with the name of the running step."""
        if self._listener is not None:
            withheld = event.kind in ("token", "reasoning") and self._withheld  # a sign of life without its text
            self._listener(Event(event.kind, event.step or self._place, "" if withheld else event.text, event.data))

    def _on_wait(self, pause: Wait | None) -> None:
        """Tell the listener of a wait before another attempt, and give it the chance to stop the run meanwhile."""
        if pause is None:
            self.emit(Event("token"))
        else:
            self.emit(Event("note", text=str(pause), data={"wait": pause.seconds}))

    def note(self, text: str) -> None:
        """Tell the user something, and keep it in the record."""
        self._detail.setdefault("notes", []).append(text)
        self.emit(Event("note", text=text))

    def record(self, **detail: Any) -> None:
        """Add values to the record of the running step."""
        usage = detail.pop("usage", None)
        if usage is not None:
            self._usage += usage
        self._detail.update(detail)

    def step(self, index: int, step: Step, state: State) -> State:
        """Run one step and append its record.

        Raises:
            StepError: the step failed; the error names the step and chains the cause.
            ApprovalNeeded: the step waits for a decision; the error carries the state and the position.
        """
        self._place = place = f"steps[{index}] {getattr(step, 'type', type(step).__name__)}"
        self._usage, self._detail, self._index = Usage(), {}, index
        self._withheld = any(
            isinstance(later, WithholdsText) and later.withholds for later in self._pipeline.steps[index + 1 :]
        )
        self.emit(Event("step", text=place))
        started = time.perf_counter() - self.caller.spent.get("step_seconds", 0.0)
        try:
            with _errors_with_place(place), on_wait(self._on_wait):
                state = step.run(state, self)
        except ApprovalNeeded as needed:
            needed.state, needed.step = state, index
            needed.spent = {**needed.spent, "step_seconds": time.perf_counter() - started}
            raise
        record = StepRecord(place, time.perf_counter() - started, self._usage, self._detail)
        self.caller = replace(self.caller, decisions=(), spent={})  # they belong to this step and not to a later one
        return state.replace(records=(*state.records, record))


@contextmanager
def _errors_with_place(place: str) -> Iterator[None]:
    try:
        yield
    except (Cancelled, StepError, ApprovalNeeded):
        raise
    except LlmkitError as error:
        raise StepError(place, str(error)) from error
    except Exception as error:
        raise StepError(place, f"{type(error).__name__}: {error}") from error
