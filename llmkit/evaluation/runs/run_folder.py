"""The folder of a run: append-only, resumable, readable by people.

::

    run.json         what was run: pipeline, prompts, models, data set, knowledge base, with their digests
    scores.jsonl     one short row a sample: status, times, tokens, scores
    traces.jsonl     one row a sample: what was asked, found, said; enough to replay it
    passages.jsonl   every passage a trace names, once
    summary.json     means with intervals, written when the run ends

A row is there whole or not at all: a line cut short by a crash is dropped at the next opening. Where a sample was tried
again, the later row counts.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from filelock import FileLock, Timeout

from llmkit import notebook
from llmkit.errors import DataError
from llmkit.evaluation.runs.trace import chunk_row, passage_key, read_chunk
from llmkit.types import Chunk, State

Row = dict[str, Any]
_SYNC = 1.0  # seconds between two fsyncs


class RunFolder:
    """A run that is there. Reading needs nothing more; :meth:`writing` lets one process append."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.run: Row = json.loads((path / "run.json").read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise DataError(f"{path} is not the folder of a run: it has no run.json") from error
        except (OSError, json.JSONDecodeError) as error:
            raise DataError(f"{path / 'run.json'} cannot be read: {error}") from error

    @classmethod
    def create(cls, path: Path, run: Row) -> Self:
        """Open the run at `path`, made with this `run.json` if it is not there.

        Raises:
            DataError: the folder cannot be written.
        """
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"the run folder {path} cannot be made: {error}") from error
        if not (path / "run.json").exists():
            write_json(path / "run.json", run)
        return cls(path)

    @property
    def name(self) -> str:
        """``task/pipeline-digest``."""
        return f"{self.path.parent.name}/{self.path.name}"

    def _repr_html_(self) -> str:
        """A table for a notebook: every figure with its interval and what could not be scored."""
        file = self.path / "summary.json"
        if not file.is_file():
            return notebook.paragraph(f"run {self.name}: not finished")
        metrics = json.loads(file.read_text(encoding="utf-8"))["metrics"]
        head = ("figure", "mean", "95 % from", "to", "n", "unscored")
        rows = [
            (name, *(one[key] for key in ("mean", "low", "high", "n", "unscored"))) for name, one in metrics.items()
        ]
        return notebook.table(head, rows, caption=self.name)

    def scores(self) -> Iterator[Row]:
        """Rows of scores, one a sample and repeat, the later one where a sample was tried again."""
        yield from self._latest("scores.jsonl")

    def done(self) -> set[tuple[str, int]]:
        """(id, repeat) of what needs no second try."""
        return {(row["id"], row["repeat"]) for row in self.scores() if row["status"] == "ok"}

    def traces(self) -> Iterator[Row]:
        """Traces of the samples, the later one where a sample was tried again."""
        yield from self._latest("traces.jsonl")

    def passages(self) -> dict[str, Chunk]:
        """Every passage a trace names, by its key."""
        return {row["key"]: read_chunk(row["chunk"]) for row in self._rows("passages.jsonl")}

    def summary(self) -> Row:
        """The summary.

        Raises:
            DataError: the run has not ended, or the file is damaged.
        """
        path = self.path / "summary.json"
        try:
            value: Row = json.loads(path.read_text(encoding="utf-8"))
            return value
        except FileNotFoundError as error:
            raise DataError(f"{self.path} has no summary yet: run the same `llmkit eval` again to finish it") from error
        except (OSError, json.JSONDecodeError) as error:
            raise DataError(f"{path} cannot be read: {error}") from error

    def writing(self) -> Writing:
        """Append to the run; one process at a time.

        Raises:
            DataError: another process is at it.
        """
        return Writing(self)

    def _latest(self, name: str) -> Iterator[Row]:
        last = {(row["id"], row["repeat"]): n for n, row in enumerate(self._rows(name))}
        for n, row in enumerate(self._rows(name)):
            if last.get((row["id"], row["repeat"])) == n:
                yield row

    def _rows(self, name: str) -> Iterator[Row]:
        path = self.path / name
        if not path.exists():
            return
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith("\n"):
                    return  # cut short by a crash
                try:
                    yield json.loads(line)
                except json.JSONDecodeError as error:
                    raise DataError(f"{path}, line {number} is damaged: {error}; delete the line to go on") from error


class Writing:
    """Appends samples to a run while it is held in a ``with`` block."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self._lock = FileLock(folder.path / ".lock")
        self._known: set[str] = set()
        self._synced = time.monotonic()

    def __enter__(self) -> Self:
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise DataError(f"another process is writing to {self.folder.path}: wait for it, or stop it") from error
        try:
            names = ("passages.jsonl", "traces.jsonl", "scores.jsonl")
            self._files = {name: _appending(self.folder.path / name) for name in names}
        except OSError as error:
            self._lock.release()
            raise DataError(f"{self.folder.path} cannot be written: {error}") from error
        self._known = set(self.folder.passages())
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            os.close(file)
        self._lock.release()

    def add(self, state: State | None, trace: Row, scores: Row) -> None:
        """Append a sample: its passages first, its scores last, so that scores vouch for the rest.

        Raises:
            DataError: the disk is full or gone; what was appended before stays.
        """
        fresh = {}
        if state is not None:
            fresh = {passage_key(hit.chunk): hit.chunk for hit in (*state.retrieved, *state.hits)}
        try:
            for key, chunk in fresh.items():
                if key not in self._known:
                    self._append("passages.jsonl", {"key": key, "chunk": chunk_row(chunk)})
                    self._known.add(key)
            self._append("traces.jsonl", trace)
            self._append("scores.jsonl", scores)
            if time.monotonic() - self._synced > _SYNC:
                for file in self._files.values():
                    os.fsync(file)
                self._synced = time.monotonic()
        except OSError as error:
            raise DataError(
                f"{self.folder.path} cannot be written ({error}): what was done before is kept; "
                "make room and run the same command again"
            ) from error

    def replace_scores(self, rows: Iterator[Row]) -> None:
        """Write the scores anew, from the traces, when other metrics are asked for."""
        path = self.folder.path / "scores.jsonl"
        fresh = path.with_suffix(".tmp")
        try:
            with fresh.open("w", encoding="utf-8") as file:
                file.writelines(_line(row).decode() for row in rows)
                file.flush()
                os.fsync(file.fileno())
            os.close(self._files["scores.jsonl"])
            fresh.replace(path)
            self._files["scores.jsonl"] = _appending(path)
        except OSError as error:
            raise DataError(f"{path} cannot be written: {error}") from error

    def _append(self, name: str, row: Row) -> None:
        line = _line(row)
        file = self._files[name]
        end = os.lseek(file, 0, os.SEEK_END)
        written = 0
        try:
            while written < len(line):
                written += os.write(file, line[written:])
        except OSError:
            os.ftruncate(file, end)  # half a line is worse than none
            raise


def read_lines(path: Path) -> Iterator[str]:
    """Whole lines of a file that is appended to; none where it is not there."""
    if path.exists():
        with path.open(encoding="utf-8") as file:
            yield from (line for line in file if line.endswith("\n"))


def append_line(path: Path, line: str) -> None:
    """Append one line, whole or not at all, in one write, and see it on the disk.

    Raises:
        DataError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = _appending(path)
        try:
            os.write(file, (line + "\n").encode())
            os.fsync(file)
        finally:
            os.close(file)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error}") from error


def write_json(path: Path, value: object) -> None:
    """Write a JSON file whole or not at all.

    Raises:
        DataError: it cannot be written.
    """
    fresh = path.with_name(f"{path.name}.tmp")
    try:
        with fresh.open("w", encoding="utf-8") as file:
            json.dump(value, file, ensure_ascii=False, indent=2)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error}") from error


def _line(row: Row) -> bytes:
    return (json.dumps(row, ensure_ascii=False, default=_plain) + "\n").encode()


def _plain(value: Any) -> Any:
    item = getattr(value, "item", None)  # a NumPy number
    return item() if callable(item) else str(value)


def _appending(path: Path) -> int:
    """A file opened for appending, a line cut short at its end dropped."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o644)
    size = os.lseek(file, 0, os.SEEK_END)
    kept = size
    while kept and os.pread(file, 1, kept - 1) != b"\n":
        block = max(0, kept - (1 << 16))
        tail = os.pread(file, kept - block, block)
        cut = tail.rfind(b"\n", 0, len(tail))
        kept = block + cut + 1 if cut >= 0 else block
    if kept != size:
        os.ftruncate(file, kept)
    return file
