"""Question files: JSONL, read one line at a time."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from llmkit.errors import ConfigError, DataError

Question = tuple[str, str]
"""Id and text."""


@contextmanager
def open_input(path: str) -> Iterator[TextIO]:
    """Open a file to read, or stdin for ``-``.

    Raises:
        ConfigError: the file cannot be opened, or its text is not UTF-8.
    """
    if path == "-":
        yield sys.stdin
        return
    try:
        file = Path(path).expanduser().open(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    with file:
        yield file


@contextmanager
def open_output(path: str) -> Iterator[TextIO]:
    """Open a file to write, or stdout for ``-``. A file that exists is replaced.

    Raises:
        ConfigError: the file cannot be opened.
    """
    if path == "-":
        yield sys.stdout
        return
    try:
        file = Path(path).expanduser().open("w", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from error
    with file:
        yield file


def read_questions(file: TextIO, name: str) -> Iterator[Question | DataError]:
    """Yield the questions of a file of ``{"id" or "_id", "question" or "text"}`` rows.

    A line that is no question is yielded as an error that names the line; a row without an id has its line number.

    Raises:
        DataError: the text is not UTF-8.
    """
    try:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield _parse(line, f"{name}, line {number}", number)
    except UnicodeDecodeError as error:
        raise DataError(f"{name} is not UTF-8 text: {error.reason}") from error


def _parse(line: str, place: str, number: int) -> Question | DataError:
    try:
        row = json.loads(line)
    except ValueError as error:
        return DataError(f"{place}: not JSON: {error}")
    text = next((row[key] for key in ("question", "text") if key in row), None) if isinstance(row, dict) else None
    if not isinstance(text, str) or not text.strip():
        return DataError(f"{place}: expected an object with a 'question' or 'text' that is not empty")
    return str(next((row[key] for key in ("id", "_id") if key in row), number)), text
