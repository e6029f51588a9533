"""A conversation: questions to a pipeline, each with the earlier turns as its history."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from llmkit.approval import ApprovalNeeded, Caller, Decision
from llmkit.errors import ConfigError, DataError
from llmkit.pipeline.chat.history import select_history
from llmkit.pipeline.chat.session_store import SessionStore, Turn
from llmkit.pipeline.pipeline import Pipeline
from llmkit.pipeline.run_context import Listener
from llmkit.types import Event, Message, State

_NAME = re.compile(r"[\w][\w .@-]{0,99}")


class ChatSession:
    """Continues a session of a store, or begins it.

    The pipeline is shown the last turns within a budget of words. Its model summarises older turns; without a model,
    they are left out, and a note says so. The store keeps all turns.
    """

    def __init__(
        self, pipeline: Pipeline, store: SessionStore | str | Path, name: str = "main", *, words: int = 1500
    ) -> None:
        """Open the session.

        Args:
            pipeline: answers the questions.
            store: stores the turns; a store, or the path of its file.
            name: name of the session.
            words: maximum words of earlier turns that the pipeline is shown.

        Raises:
            ConfigError: the name is not valid.
        """
        if _NAME.fullmatch(name) is None:
            raise ConfigError(
                f"{name!r} is no name for a session: use letters, digits, spaces and . @ _ -, at most 100 characters"
            )
        self.store = store if isinstance(store, SessionStore) else SessionStore(Path(store).expanduser())
        self.pipeline, self.name, self.words = pipeline, name, words
        self.store.begin(name, pipeline.name)
        self.turns: list[Turn] = self.store.turns(name)

    def ask(self, question: str, *, on_event: Listener | None = None, attended: bool = False) -> State:
        """Ask a question and store the turn.

        Args:
            question: the question.
            on_event: called with each event of the run.
            attended: whether a person is there to approve tool calls.

        Raises:
            DataError: the question is empty, or another process continued this session.
            StepError: the pipeline failed; the session is unchanged.
            ApprovalNeeded: an agent waits for approval; continue with :meth:`decide`.
        """
        notes: list[str] = []
        history = self.history(notes)
        for note in notes:
            if on_event is not None:
                on_event(Event("note", step="chat", text=note))
        caller = Caller(self.thread, len(self.turns), attended)
        state = self.pipeline.run(question, history=history, on_event=on_event, caller=caller)
        self._store(question, state)
        return state

    def decide(
        self, needed: ApprovalNeeded, decisions: Sequence[Decision], *, on_event: Listener | None = None
    ) -> State:
        """Continue a turn that waits for approval, and store it; see :meth:`llmkit.pipeline.Pipeline.decide`."""
        state = self.pipeline.decide(needed, decisions, on_event=on_event)
        self._store(_question_of(needed), state)
        return state

    def stream(self, question: str, *, attended: bool = False) -> Iterator[Event]:
        """:meth:`ask` as events. The last event, ``done``, stores the turn; closing the iterator before does not."""
        notes: list[str] = []
        history = self.history(notes)
        yield from (Event("note", step="chat", text=note) for note in notes)
        caller = Caller(self.thread, len(self.turns), attended)
        yield from self._store_at_end(question, self.pipeline.stream(question, history=history, caller=caller))

    def stream_decided(self, needed: ApprovalNeeded, decisions: Sequence[Decision]) -> Iterator[Event]:
        """:meth:`decide` as events."""
        yield from self._store_at_end(_question_of(needed), self.pipeline.stream_decided(needed, decisions))

    def _store_at_end(self, question: str, events: Iterator[Event]) -> Iterator[Event]:
        for event in events:
            if event.kind == "done":
                self._store(question, event.data["state"])
            yield event

    def undo(self) -> Turn | None:
        """Delete the last turn and return it; None where there is none."""
        deleted = self.store.undo(self.name)
        for step in self.pipeline.steps:
            if hasattr(step, "forget"):  # the memory of an agent
                step.forget(self.thread)
        self.turns = self.store.turns(self.name)
        return deleted

    @property
    def thread(self) -> str:
        """Name of the conversation in the memory of agents; it differs for every file of sessions."""
        return f"{self.store.path.resolve()}#{self.name}"

    def history(self, notes: list[str]) -> tuple[Message, ...]:
        """The messages that the pipeline is shown; `notes` gets a sentence for what was summarised or left out."""
        return select_history(self.pipeline, self.store, self.name, self.turns, self.words, notes)

    def _store(self, question: str, state: State) -> None:
        n = self.turns[-1].n + 1 if self.turns else 1
        self.turns.append(self.store.add(self.name, n, question.strip(), state))

    def markdown(self) -> str:
        """The conversation as Markdown, with its citations.

        Raises:
            DataError: the session has no turn.
        """
        if not self.turns:
            raise DataError("the conversation has no turn yet")
        parts = [f"# {self.name}"]
        for turn in self.turns:
            parts.append(f"**{turn.question}**\n\n{turn.answer.text}")
            parts += [
                f"> [{one.n}] {one.document}, characters {one.start}-{one.end}: {' '.join(one.quote.split())}"
                + (f" ({one.doubt})" if one.doubt else "")
                for one in turn.answer.citations
            ]
        return "\n\n".join(parts) + "\n"


def _question_of(needed: ApprovalNeeded) -> str:
    return needed.state.question if needed.state is not None else ""
