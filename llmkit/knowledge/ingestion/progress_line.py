"""One line on stderr that says how far an ingest has come, for terminals and notebooks."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Self

from llmkit.knowledge.ingestion.progress import Progress

Listener = Callable[[Progress], None]
_EVERY = 0.1  # seconds between two writes


class ProgressLine:
    """A line that is written over; use it in a ``with`` block, so that it is ended."""

    def __init__(self, *, show: bool | None = None) -> None:
        """Show it or not; None: in a terminal or a notebook only."""
        self.shown = (sys.stderr.isatty() or "ipykernel" in sys.modules) if show is None else show
        self._started = time.monotonic()
        self._last = 0.0
        self._width = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._width:
            sys.stderr.write("\n")
            sys.stderr.flush()

    def update(self, progress: Progress) -> None:
        """Write the line again, at most ten times a second and for the last file."""
        now = time.monotonic()
        if now - self._last < _EVERY and progress.files < progress.total:
            return
        self._last = now
        rate = progress.files / max(now - self._started, 1e-6)
        text = (
            f"{progress.files}/{progress.total} files, {progress.chunks} chunks, {rate:.0f} files/s  "
            f"{progress.name[-40:]}"
        )
        sys.stderr.write("\r" + text.ljust(self._width))
        sys.stderr.flush()
        self._width = len(text)


def both(first: Listener | None, second: Listener | None) -> Listener | None:
    """A listener that calls both; None where neither is there."""
    if first is None or second is None:
        return first or second

    def tell(progress: Progress) -> None:
        first(progress)
        second(progress)

    return tell
