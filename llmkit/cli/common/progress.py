"""Progress on stderr: a bar for a terminal, a line now and then elsewhere, nothing beside JSON."""

from __future__ import annotations

import time
from typing import Any, Self

import click

from llmkit.cli.common.render import stderr_is_terminal

_EVERY = 10.0  # seconds between lines


class ProgressBar:
    """A bar over a number of things, shown while a ``with`` block lasts."""

    def __init__(self, what: str, *, quiet: bool) -> None:
        self.what, self.quiet = what, quiet
        self.started = self.told = time.monotonic()
        self._live: Any = None
        if stderr_is_terminal() and not quiet:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn

            count = TextColumn(f"{{task.completed}}/{{task.total}} {what}")
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
        """Since it was made; never 0."""
        return max(time.monotonic() - self.started, 1e-6)

    def show(self, done: int, total: int, text: str, *, more: str = "") -> None:
        """Show how far it is; `more` only on a terminal."""
        if self._live:
            self._live.update(self._task, completed=done, total=total, description=f"{text}  {more}".rstrip())
        elif not self.quiet and time.monotonic() - self.told > _EVERY:
            self.told = time.monotonic()
            click.echo(f"{done}/{total} {self.what}, {text}", err=True)
