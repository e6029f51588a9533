"""What is kept of each caller, apart from all others, in files of its own: conversations, traces, ratings, waits."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from pathlib import Path

from llmkit.knowledge.verbatim_search import Quotes
from llmkit.pipeline.chat.session_store import SessionStore
from llmkit.serve.auth.principal import LOCAL, Caller
from llmkit.serve.settings import Settings
from llmkit.serve.storage.background_writer import Scribe
from llmkit.serve.storage.feedback import Ratings
from llmkit.serve.storage.pending_approvals import WaitStore
from llmkit.serve.storage.traces import TraceStore


@dataclass(frozen=True, slots=True)
class Drawer:
    """One caller's things."""

    sessions: SessionStore
    traces: TraceStore
    ratings: Ratings
    waits: WaitStore

    def close(self) -> None:
        """Close the files."""
        self.sessions.close()
        self.traces.close()
        self.waits.close()


class Drawers:
    """Everybody's, opened when first used."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._open: dict[str, Drawer] = {}
        self._scribe = Scribe()

    def of(self, caller: Caller) -> Drawer:
        """The drawer of a caller.

        Raises:
            DataError: its files cannot be opened.
        """
        with self._lock:
            if caller.id not in self._open:
                self._open[caller.id] = self._opened(caller.id)
            return self._open[caller.id]

    def erase(self, quotes: Quotes, caller: Caller) -> dict[str, int]:
        """Delete what quotes some documents, whoever it is kept for; returns how many turns, traces, ratings.

        Who is not the owner could learn what others talk of, by forgetting a document of guessed words: of others it
        deletes what was given a passage of the documents, not what shares words with them, and counts its own alone.
        """
        gone = {"turns": 0, "traces": 0, "ratings": 0}
        named = replace(quotes, runs=frozenset(), words=frozenset())
        with self._lock:
            for name in self._known():
                drawer = self._open.get(name) or self._opened(name)
                told = caller.may("admin") or name == caller.id
                sought = quotes if told else named
                erased = {
                    "turns": drawer.sessions.erase(sought) + drawer.waits.erase(sought),
                    "traces": drawer.traces.erase(sought),
                    "ratings": drawer.ratings.erase(sought),
                }
                gone = {kind: count + (erased[kind] if told else 0) for kind, count in gone.items()}
                if name not in self._open:
                    drawer.close()
        return gone

    def close(self) -> None:
        """Close every file."""
        self._scribe.close()
        with self._lock:
            for drawer in self._open.values():
                drawer.close()
            self._open.clear()

    def _known(self) -> list[str]:
        on_disk = {path.stem for path in self._folder("traces").glob("*.sqlite")}
        return sorted(on_disk | self._open.keys() | {LOCAL.id})

    def _folder(self, kind: str) -> Path:
        return self._settings.data.expanduser() / kind

    def _opened(self, name: str) -> Drawer:
        mine = self._settings.sessions.expanduser()
        sessions = mine if name == LOCAL.id else self._folder("sessions") / f"{name}.sqlite"
        return Drawer(
            SessionStore(sessions),
            TraceStore(self._folder("traces") / f"{name}.sqlite", self._settings.kept, self._scribe),
            Ratings(self._folder("ratings") / f"{name}.jsonl"),
            WaitStore(self._folder("waits") / f"{name}.sqlite"),
        )
