"""What the server stores for each caller, in files of their own: conversations, traces, feedback, waiting turns."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from pathlib import Path

from llmkit.knowledge.verbatim_search import Quotes
from llmkit.pipeline.chat.session_store import SessionStore
from llmkit.serve.auth.principal import LOCAL_PRINCIPAL, Principal
from llmkit.serve.settings import Settings
from llmkit.serve.storage.background_writer import BackgroundWriter
from llmkit.serve.storage.feedback import FeedbackStore
from llmkit.serve.storage.pending_approvals import ApprovalStore
from llmkit.serve.storage.private_files import create_private_file
from llmkit.serve.storage.traces import TraceStore


@dataclass(frozen=True, slots=True)
class CallerStore:
    """The open files of one caller."""

    sessions: SessionStore
    traces: TraceStore
    feedback: FeedbackStore
    approvals: ApprovalStore

    def close(self) -> None:
        """Close the files."""
        self.sessions.close()
        self.traces.close()
        self.approvals.close()


class CallerStores:
    """The stores of all callers, opened when first used."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._open: dict[str, CallerStore] = {}
        self._writer = BackgroundWriter()

    def for_caller(self, caller: Principal) -> CallerStore:
        """Return the store of a caller.

        Raises:
            DataError: its files cannot be opened.
        """
        with self._lock:
            if caller.id not in self._open:
                self._open[caller.id] = self._open_store(caller.id)
            return self._open[caller.id]

    def erase(self, quotes: Quotes, caller: Principal) -> dict[str, int]:
        """Delete what quotes some documents, in the files of every caller.

        A caller without the scope ``admin`` could learn what others talk about, by forgetting a document of guessed
        words. For such a caller, the files of others lose only what was given a passage of the documents, not what
        shares words with them, and the counts cover the caller's own files alone.

        Returns:
            The numbers of deleted ``turns``, ``traces`` and ``ratings`` that the caller may know.
        """
        totals = {"turns": 0, "traces": 0, "ratings": 0}
        by_passage = replace(quotes, runs=frozenset(), words=frozenset())
        with self._lock:
            for caller_id in self._caller_ids():
                store = self._open.get(caller_id) or self._open_store(caller_id)
                visible = caller.may("admin") or caller_id == caller.id
                sought = quotes if visible else by_passage
                erased = {
                    "turns": store.sessions.erase(sought) + store.approvals.erase(sought),
                    "traces": store.traces.erase(sought),
                    "ratings": store.feedback.erase(sought),
                }
                if visible:
                    totals = {kind: count + erased[kind] for kind, count in totals.items()}
                if caller_id not in self._open:
                    store.close()
        return totals

    def close(self) -> None:
        """Close every file."""
        self._writer.close()
        with self._lock:
            for store in self._open.values():
                store.close()
            self._open.clear()

    def _caller_ids(self) -> list[str]:
        on_disk = {path.stem for path in self._folder("traces").glob("*.sqlite")}
        return sorted(on_disk | self._open.keys() | {LOCAL_PRINCIPAL.id})

    def _folder(self, kind: str) -> Path:
        return self._settings.data.expanduser() / kind

    def _open_store(self, caller_id: str) -> CallerStore:
        if caller_id == LOCAL_PRINCIPAL.id:
            sessions = self._settings.sessions.expanduser()
        else:
            sessions = create_private_file(self._folder("sessions") / f"{caller_id}.sqlite")
        return CallerStore(
            SessionStore(sessions),
            TraceStore(self._folder("traces") / f"{caller_id}.sqlite", self._settings.max_traces, self._writer),
            FeedbackStore(self._folder("ratings") / f"{caller_id}.jsonl"),
            ApprovalStore(self._folder("waits") / f"{caller_id}.sqlite"),
        )
