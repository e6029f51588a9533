"""Writes what nobody waits for: a moment after it was told, several things at once, off the way of answers."""

from __future__ import annotations

import threading
from collections.abc import Callable

from llmkit.serve.runtime.log import failure

_PAUSE = 0.05  # seconds; what is told meanwhile goes into one transaction, and an answer is sent before its trace


class Scribe:
    """One thread for all files of a server, begun when first needed."""

    def __init__(self, pause: float = _PAUSE) -> None:
        self._pause = pause
        self._told = threading.Condition()
        self._due: dict[Callable[[], None], None] = {}
        self._thread: threading.Thread | None = None
        self._ended = False

    def soon(self, write: Callable[[], None]) -> None:
        """Call `write` in a moment; once, however often it is told until then. What it raises is logged."""
        with self._told:
            if self._thread is None and not self._ended:
                self._thread = threading.Thread(target=self._work, name="llmkit scribe", daemon=True)
                self._thread.start()
            if not self._due:
                self._told.notify()
            self._due[write] = None

    def close(self) -> None:
        """End the thread; what is still due is the caller's to write."""
        with self._told:
            self._ended = True
            self._told.notify()
        if self._thread is not None:
            self._thread.join(timeout=10)

    def _work(self) -> None:
        while True:
            with self._told:
                self._told.wait_for(lambda: self._ended or self._due)
                if self._ended:
                    return
                self._told.wait_for(lambda: self._ended, timeout=self._pause)
                due, self._due = self._due, {}
            for write in due:
                try:
                    write()
                except Exception as error:  # a full disk loses traces, not answers
                    failure("scribe", error)
