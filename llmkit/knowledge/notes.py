"""Messages for the user that are no errors: an encoder of another precision, an index that was rebuilt."""

from __future__ import annotations

import threading
from collections.abc import Iterator


class Notes:
    """A list that many threads append to, and from which each message is taken once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._texts: list[str] = []
        self._taken = 0

    def add(self, text: str) -> None:
        """Append a message."""
        with self._lock:
            self._texts.append(text)

    def take(self) -> list[str]:
        """The messages since the last call."""
        with self._lock:
            before, self._taken = self._taken, len(self._texts)
            return self._texts[before:]

    def __iter__(self) -> Iterator[str]:
        """All messages, those that were taken included."""
        with self._lock:
            return iter(list(self._texts))
