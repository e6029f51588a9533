"""Messages for the user that are not errors, for example that an index was rebuilt."""

from __future__ import annotations

import threading
from collections.abc import Iterator


class Notes:
    """A thread-safe list of messages. :meth:`take` returns each message once; iteration returns all of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._texts: list[str] = []
        self._read = 0

    def add(self, text: str) -> None:
        """Append a message."""
        with self._lock:
            self._texts.append(text)

    def take(self) -> list[str]:
        """Return the messages that were added since the last call."""
        with self._lock:
            before, self._read = self._read, len(self._texts)
            return self._texts[before:]

    def __iter__(self) -> Iterator[str]:
        """Iterate over all messages, including those that :meth:`take` has returned."""
        with self._lock:
            return iter(list(self._texts))
