"""Question files: one JSON object a line, read as they are needed."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from llmkit.errors import ConfigError, DataError

Row = tuple[str, str]
"""Id and text."""


@contextmanager
def reading(path: str) -> Iterator[TextIO]:
    """A file, or stdin for ``-``."""
    if path == "-":
        yield sys.stdin
        return
    try:
        with Path(path).open(encoding="utf-8") as file:
            yield file
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error


@contextmanager
def writing(path: str) -> Iterator[TextIO]:
    """A file made anew, or stdout for ``-``."""
    if path == "-":
        yield sys.stdout
        return
    try:
        with Path(path).open("w", encoding="utf-8") as file:
            yield file
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from error


def questions(file: TextIO, name: str) -> Iterator[Row | DataError]:
    """``{"id" or "_id", "question" or "text"}`` a line; a bad line comes as the error that says which."""
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            yield DataError(f"{name}, line {number}: not JSON: {error}")
            continue
        text = next((row[key] for key in ("question", "text") if key in row), None) if isinstance(row, dict) else None
        if not isinstance(text, str) or not text.strip():
            yield DataError(f"{name}, line {number}: expected an object with a 'question' or 'text' that is not empty")
            continue
        identity = next((row[key] for key in ("id", "_id") if key in row), number)
        yield str(identity), text
