"""Writes to disk in a background thread, so that no answer waits for them."""

from __future__ import annotations

import threading
from collections.abc import Callable

from llmkit.serve.runtime.log import log_failure

_DELAY = 0.05  # seconds; writes that are scheduled meanwhile share a transaction


class BackgroundWriter:
    """One thread for all files of a server. It starts with the first write.

    Args:
        delay: seconds between the first scheduled write and the moment the thread begins to write.
    """

    def __init__(self, delay: float = _DELAY) -> None:
        self._delay = delay
        self._changed = threading.Condition()
        self._due: dict[Callable[[], None], None] = {}
        self._thread: threading.Thread | None = None
        self._closed = False

    def schedule(self, write: Callable[[], None]) -> None:
        """Call `write` soon, and once, however often it is scheduled before that. Errors of `write` are logged."""
        with self._changed:
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._work, name="llmkit writer", daemon=True)
                self._thread.start()
            if not self._due:
                self._changed.notify()
            self._due[write] = None

    def close(self) -> None:
        """End the thread. Writes that are still due are left to the caller."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(timeout=10)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._due)
                if self._closed:
                    return
                self._changed.wait_for(lambda: self._closed, timeout=self._delay)
                due, self._due = self._due, {}
            for write in due:
                try:
                    write()
                except Exception as error:  # a full disk loses traces, not answers
                    log_failure("background writer", error)
