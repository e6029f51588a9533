"""A conversation: a pipeline asked again and again, with the turns before as its history."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from llmkit import prompts
from llmkit.approval import ApprovalNeeded, Caller, Decision
from llmkit.errors import ConfigError, DataError, LlmkitError
from llmkit.models.ask import ask_model
from llmkit.pipeline.chat.session_store import SessionStore, Turn
from llmkit.pipeline.pipeline import Pipeline
from llmkit.pipeline.steps.retrieval.condense import format_turns
from llmkit.types import Event, Message, State

if TYPE_CHECKING:
    from llmkit.pipeline.run_context import Listener

_NAME = re.compile(r"[\w][\w .@-]{0,99}")
_SUMMARY_WORDS = 120


class ChatSession:
    """Goes on with a session of a store, or begins it.

    The pipeline is shown the last turns within a budget of words. Older ones are summed up by the pipeline's model;
    where it has none they are left out, and that is told. Nothing is ever deleted from the store for this.
    """

    def __init__(
        self, pipeline: Pipeline, store: SessionStore | str | Path, name: str = "main", *, words: int = 1500
    ) -> None:
        """Open the session.

        Args:
            pipeline: that answers.
            store: where the turns are kept, or the file to keep them in.
            name: of the session.
            words: of earlier turns that the pipeline is shown, at most.

        Raises:
            ConfigError: not a name.
        """
        if _NAME.fullmatch(name) is None:
            raise ConfigError(f"{name!r} is not a session's name: letters, digits, spaces and . @ _ -, at most 100")
        self.store = store if isinstance(store, SessionStore) else SessionStore(Path(store).expanduser())
        self.pipeline, self.name, self.words = pipeline, name, words
        self.store.begin(name, pipeline.name)
        self.turns: list[Turn] = self.store.turns(name)

    def ask(self, question: str, *, on_event: Listener | None = None, attended: bool = False) -> State:
        """Ask, and keep the turn.

        Raises:
            DataError: an empty question, or another process went on with this session.
            StepError: the pipeline failed; the session is as before.
            ApprovalNeeded: an agent waits, and it is `attended`; go on with :meth:`decide`.
        """
        notes: list[str] = []
        history = self.history(notes)
        for note in notes:
            if on_event is not None:
                on_event(Event("note", step="chat", text=note))
        caller = Caller(self.thread, len(self.turns), attended)
        state = self.pipeline.run(question, history=history, on_event=on_event, caller=caller)
        self._keep(question, state)
        return state

    def decide(
        self, needed: ApprovalNeeded, decisions: Sequence[Decision], *, on_event: Listener | None = None
    ) -> State:
        """Go on with a turn that waits, and keep it; see :meth:`llmkit.pipeline.Pipeline.decide`."""
        state = self.pipeline.decide(needed, decisions, on_event=on_event)
        self._keep(_asked(needed), state)
        return state

    def stream(self, question: str, *, attended: bool = False) -> Iterator[Event]:
        """The same as events; the turn is kept with the last one, ``done``. Closing it earlier keeps nothing."""
        notes: list[str] = []
        history = self.history(notes)
        yield from (Event("note", step="chat", text=note) for note in notes)
        caller = Caller(self.thread, len(self.turns), attended)
        yield from self._kept(question, self.pipeline.stream(question, history=history, caller=caller))

    def stream_decided(self, needed: ApprovalNeeded, decisions: Sequence[Decision]) -> Iterator[Event]:
        """:meth:`decide` as events."""
        yield from self._kept(_asked(needed), self.pipeline.stream_decided(needed, decisions))

    def _kept(self, question: str, events: Iterator[Event]) -> Iterator[Event]:
        for event in events:
            if event.kind == "done":
                self._keep(question, event.data["state"])
            yield event

    def undo(self) -> Turn | None:
        """Take the last turn back; returns it."""
        gone = self.store.undo(self.name)
        for step in self.pipeline.steps:
            if hasattr(step, "forget"):  # what an agent remembers of the turn
                step.forget(self.thread)
        self.turns = self.store.turns(self.name)
        return gone

    @property
    def thread(self) -> str:
        """Name under which agents remember it: no two files of sessions share one."""
        return f"{self.store.path.resolve()}#{self.name}"

    def history(self, notes: list[str]) -> tuple[Message, ...]:
        """The turns that the pipeline is shown; what is left out or summed up is added to `notes`."""
        upto, summary = self.store.summary(self.name)
        recent = [turn for turn in self.turns if turn.n > upto]
        kept = len(recent)
        while kept > 1 and sum(map(_length, recent[len(recent) - kept :])) > self.words:
            kept -= 1
        old = recent[: len(recent) - kept]
        if old:
            shorter = self._summed_up(summary, old, notes)
            if shorter:
                summary = shorter
                self.store.summarise(self.name, old[-1].n, shorter)
        messages = [Message("system", f"Earlier in this conversation: {summary}")] if summary else []
        for turn in recent[len(recent) - kept :]:
            messages += [Message("user", turn.question), Message("assistant", turn.answer.text)]
        return tuple(messages)

    def _summed_up(self, summary: str, old: list[Turn], notes: list[str]) -> str:
        """The turns as a few sentences by the pipeline's model; empty where it has none or says nothing."""
        said = [Message("system", f"Earlier: {summary}")] if summary else []
        for turn in old:
            said += [Message("user", turn.question), Message("assistant", turn.answer.text)]
        span = f"turns {old[0].n} to {old[-1].n}"
        if self.pipeline.model is None:
            notes.append(
                f"{span} are beyond the {self.words} words of history and were not shown: no model sums them up"
            )
            return ""
        values = {"conversation": format_turns(said), "words": str(_SUMMARY_WORDS)}
        messages = prompts.load("summarise@v1").render(values)
        try:
            text = ask_model(self.pipeline.chat_model(), messages, require="whole").text
        except (LlmkitError, OSError) as error:
            notes.append(f"{span} were not shown: summing them up failed ({error})")
            return ""
        notes.append(f"{span} are shown as a summary of {len(text.split())} words")
        return " ".join(text.split()[: 2 * _SUMMARY_WORDS])

    def _keep(self, question: str, state: State) -> None:
        n = self.turns[-1].n + 1 if self.turns else 1
        self.turns.append(self.store.add(self.name, n, question.strip(), state))

    def markdown(self) -> str:
        """The conversation as Markdown, with its citations.

        Raises:
            DataError: nothing was said yet.
        """
        if not self.turns:
            raise DataError("nothing was said yet")
        parts = [f"# {self.name}"]
        for turn in self.turns:
            parts.append(f"**{turn.question}**\n\n{turn.answer.text}")
            parts += [
                f"> [{one.n}] {one.document}, characters {one.start}-{one.end}: {' '.join(one.quote.split())}"
                + (f" ({one.doubt})" if one.doubt else "")
                for one in turn.answer.citations
            ]
        return "\n\n".join(parts) + "\n"


def _asked(needed: ApprovalNeeded) -> str:
    return needed.state.question if needed.state is not None else ""


def _length(turn: Turn) -> int:
    return len(turn.question.split()) + len(turn.answer.text.split())
