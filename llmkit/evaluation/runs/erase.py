"""Taking what was forgotten out of evaluations: samples that were shown it or quote it, and remembered answers.

A sample is erased whole, with its scores: half a trace can be neither replayed nor scored. Its run is unfinished from
then on, and the same ``llmkit eval`` finishes it from what the knowledge base holds now.
"""

from __future__ import annotations

import html
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from llmkit.errors import DataError, LlmkitError
from llmkit.evaluation.runs.run_folder import Row, RunFolder
from llmkit.knowledge.knowledge_base import KnowledgeBase
from llmkit.knowledge.verbatim_search import Quotes, strings
from llmkit.models.response_cache import ResponseCache

_ROWS = ("passages.jsonl", "traces.jsonl", "scores.jsonl")
_OURS = (".json", ".html", ".tmp")  # what can be made again: summaries, blame, reports


@dataclass
class ErasedFromRuns:
    """What was erased below a folder of runs."""

    samples: int = 0
    """Traces with their scores."""
    passages: int = 0
    answers: int = 0
    """Remembered answers of models."""
    files: list[str] = field(default_factory=list)
    """Summaries, blame, reports, and knowledge bases made of a task's corpus: they can be made again."""
    untouched: list[str] = field(default_factory=list)
    """Files that quote the documents, or cannot be read, and are not ours to erase."""


def forget_in_runs(runs: Path, quotes: Quotes) -> ErasedFromRuns:
    """Erase what quotes some documents from every run below `runs`, the response cache and the corpora beside them.

    Raises:
        DataError: another process is writing to a run; it is named, and nothing after it was done.
    """
    done = ErasedFromRuns()
    keys: set[str] = set()
    folders = sorted(path.parent for path in runs.glob("*/*/run.json"))
    for path in folders:
        keys |= _in_run(RunFolder(path), quotes, done)
    cache = runs / ".cache" / "responses.sqlite"
    if cache.is_file():
        responses = ResponseCache(cache)
        try:
            done.answers = responses.erase(lambda key, response: key in keys or quotes.in_value(response))
        finally:
            responses.close()
    for path in sorted((runs / ".knowledge").glob("*/")):
        if _corpus_holds(path, quotes):
            shutil.rmtree(path)
            done.files.append(str(path))
    _in_files(runs, quotes, done)
    return done


def _in_run(folder: RunFolder, quotes: Quotes, done: ErasedFromRuns) -> set[str]:
    """Erase samples of one run; returns the keys of what its models answered in them."""
    known = folder.run.get("knowledge") or {}
    same = Path(known.get("path", "")).resolve() == quotes.knowledge
    with _held(folder.path):
        dead = {row["key"] for row in _rows(folder.path / _ROWS[0]) if _is_of(row["chunk"], same, quotes)}
        samples: set[tuple[str, int]] = set()
        keys: set[str] = set()
        for trace in _rows(folder.path / _ROWS[1]):
            shown = {hit["passage"] for hits in _shown(trace) for hit in hits}
            if (
                shown & dead
                or any(quotes.in_text(text) for text in strings(trace))
                or (same and quotes.in_value(trace))
            ):
                samples.add((trace["id"], trace["repeat"]))
        for trace in _rows(folder.path / _ROWS[1]):
            if (trace["id"], trace["repeat"]) in samples:
                keys |= {call["key"] for call in trace["calls"]}
        for row in _rows(folder.path / _ROWS[2]):
            if quotes.in_value(row):
                samples.add((row["id"], row["repeat"]))
        if not dead and not samples:
            return set()
        done.passages += _keep(folder.path / _ROWS[0], lambda row: row["key"] not in dead)
        for name in _ROWS[1:]:
            gone = _keep(folder.path / name, lambda row: (row["id"], row["repeat"]) not in samples)
            done.samples += gone if name == _ROWS[1] else 0
        for name in ("summary.json", "blame.json"):
            if (folder.path / name).exists():
                (folder.path / name).unlink()
                done.files.append(str(folder.path / name))
    return keys


def _is_of(chunk: Row, same: bool, quotes: Quotes) -> bool:
    """Whether a passage is of a document that is forgotten, or says what only that says."""
    if chunk["document"] in quotes.names and (same or any(chunk["text"] in text for text in quotes.texts)):
        return True
    return quotes.in_text(chunk["text"]) or quotes.in_text(chunk["title"])


def _shown(trace: Row) -> Iterator[list[Row]]:
    yield trace["entering"]
    if trace["state"] is not None:
        yield trace["state"]["hits"]
        yield trace["state"]["retrieved"]


def _in_files(runs: Path, quotes: Quotes, done: ErasedFromRuns) -> None:
    """Erase whatever else of ours quotes them; tell of the rest."""
    for path in sorted(runs.rglob("*")):
        if not path.is_file() or path.name in _ROWS or path.is_relative_to(runs / ".cache"):
            continue
        if path.is_relative_to(runs / ".knowledge"):
            continue
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            done.untouched.append(str(path))
            continue
        if not (quotes.in_text(html.unescape(text)) or quotes.in_text(_unescaped(text))):
            continue
        if path.suffix in _OURS and path.name != "run.json":
            path.unlink()
            done.files.append(str(path))
        else:
            done.untouched.append(str(path))


def _unescaped(text: str) -> str:
    """JSON's escapes as the characters they stand for, wherever they are."""
    try:
        return json.dumps(json.loads(text), ensure_ascii=False).replace("\\n", " ").replace("\\t", " ")
    except ValueError:
        return text.replace("\\n", " ").replace("\\t", " ")


def _corpus_holds(path: Path, quotes: Quotes) -> bool:
    """Whether a task's corpus has one of the texts."""
    if path.resolve() == quotes.knowledge:
        return False
    try:
        with KnowledgeBase.open(path) as kb:
            texts = (document.text for document, _ in kb.every_version())
            return any(text in quotes.texts or quotes.in_text(text) for text in texts)
    except LlmkitError:
        return True  # damaged or of an older format: it is made again when it is needed


def _keep(path: Path, wanted: Callable[[Row], bool]) -> int:
    """Write a file of rows anew with those that are wanted; returns how many were not."""
    if not path.exists():
        return 0
    fresh, gone = path.with_suffix(".tmp"), 0
    with fresh.open("w", encoding="utf-8") as file:
        for row in _rows(path):
            if wanted(row):
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
            else:
                gone += 1
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    return gone


def _rows(path: Path) -> Iterator[Any]:
    """Rows of a file; a line cut short by a crash is nobody's and is not written again."""
    if not path.exists():
        return
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith("\n"):
                return
            try:
                yield json.loads(line)
            except json.JSONDecodeError as error:
                raise DataError(f"{path}, line {number} is damaged: {error}; delete the line to go on") from error


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """The run, held for writing."""
    lock = FileLock(path / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise DataError(f"another process is writing to {path}: wait for it, or stop it") from error
    try:
        yield
    finally:
        lock.release()
