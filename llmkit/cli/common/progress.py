"""Progress on stderr: a bar on a terminal, a line every ten seconds elsewhere, nothing with ``--json``."""

from __future__ import annotations

import time
from typing import Any, Self

import click

from llmkit.cli.common.render import stderr_is_terminal

SECONDS_BETWEEN_LINES = 10.0


class ProgressBar:
    """Progress over a number of items, shown while a ``with`` block runs."""

    def __init__(self, noun: str, *, quiet: bool) -> None:
        self.noun, self.quiet = noun, quiet
        self.started = self._last_line = time.monotonic()
        self._live: Any = None
        if stderr_is_terminal() and not quiet:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn

            count = TextColumn(f"{{task.completed}}/{{task.total}} {noun}")
            columns = count, BarColumn(), TextColumn("{task.description}")
            self._live = Progress(*columns, console=Console(stderr=True), transient=True)
            self._task = self._live.add_task("", total=None)

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    @property
    def seconds(self) -> float:
        """Seconds since the bar was created; never 0."""
        return max(time.monotonic() - self.started, 1e-6)

    def show(self, done: int, total: int, text: str, *, more: str = "") -> None:
        """Show that `done` of `total` items are done. `more` is shown on a terminal only."""
        if self._live:
            self._live.update(self._task, completed=done, total=total, description=f"{text}  {more}".rstrip())
        elif not self.quiet and time.monotonic() - self._last_line > SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            click.echo(f"{done}/{total} {self.noun}, {text}", err=True)
