"""Rows of data files: JSONL (also gzipped), JSON, CSV and TSV, one at a time, each with its place."""

from __future__ import annotations

import csv
import gzip
import io
import json
import string
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmkit.errors import DataError, unknown

_LONGEST = 16 << 20  # characters of one line


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be used."""

    place: str
    """``dev.jsonl, line 7``."""
    reason: str

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}"


Row = tuple[str, dict[str, Any]]
"""Place and values."""


def jsonl(path: Path) -> Iterator[Row | BadRow]:
    """Objects of a JSONL file, ``.gz`` or plain.

    Raises:
        DataError: the file is not there, or cannot be read at all.
    """
    try:
        with _text(path) as file:
            for number, line in enumerate(_lines(file), 1):
                place = f"{path.name}, line {number}"
                if not line.strip():
                    continue
                if len(line) > _LONGEST:
                    yield BadRow(place, f"longer than {_LONGEST} characters")
                    continue
                try:
                    value = json.loads(line)
                except (json.JSONDecodeError, RecursionError) as error:
                    yield BadRow(place, f"not JSON: {error}")
                    continue
                if isinstance(value, dict):
                    yield place, value
                else:
                    yield BadRow(place, f"expected an object, got {type(value).__name__}")
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}{_hint(error)}") from error


def table(path: Path) -> Iterator[Row | BadRow]:
    """Rows of a CSV or TSV file with a head line; the mark between cells is the one the head line has most of.

    Raises:
        DataError: the file is not there, or has no head line.
    """
    try:
        with _text(path) as file:
            first = file.readline()
            file.seek(0)
            marks = "\t" if ".tsv" in path.name else ",;\t"
            reader = csv.reader(file, delimiter=max(marks, key=first.count))
            head = next(reader, None)
            if not head or len(set(head)) != len(head):
                raise DataError(f"{path}: the first line must name the columns, each once")
            for cells in reader:
                place = f"{path.name}, line {reader.line_num}"
                if not any(cells):
                    continue
                if len(cells) == len(head):
                    yield place, dict(zip(head, cells, strict=True))
                else:
                    yield BadRow(place, f"{len(cells)} cells under {len(head)} columns")
    except (OSError, EOFError, UnicodeDecodeError, zlib.error, csv.Error) as error:
        raise DataError(f"{path} cannot be read: {error}{_hint(error)}") from error


def whole(path: Path) -> Any:
    """The value of one JSON file.

    Raises:
        DataError: not there, or not JSON.
    """
    try:
        with _text(path) as file:
            return json.load(file)
    except (OSError, EOFError, UnicodeDecodeError, zlib.error, json.JSONDecodeError, RecursionError) as error:
        raise DataError(f"{path} cannot be read as JSON: {error}{_hint(error)}") from error


def _hint(error: Exception) -> str:
    return "; save it as UTF-8" if isinstance(error, UnicodeDecodeError) else ""


def find_variant(folder: Path, name: str) -> Path:
    """``folder/name``, or its gzipped form.

    Raises:
        DataError: neither is there.
    """
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise DataError(f"{folder} has no {name} (nor {name}.gz)")


def pick(row: Mapping[str, Any], wanted: str) -> Any:
    """The value of a column, or a text with ``$column`` in it filled in once.

    Raises:
        DataError: no such column.
    """
    if "$" not in wanted:
        if wanted not in row:
            raise DataError(unknown("column", wanted, row))
        return row[wanted]
    plain = (value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) for value in row.values())
    values = dict(zip(row, plain, strict=True))
    try:
        return string.Template(wanted).substitute(values)
    except KeyError as error:
        raise DataError(unknown("column", str(error.args[0]), row)) from error
    except ValueError as error:
        raise DataError(f"{wanted!r}: {error}; write $$ for a dollar sign") from error


def texts(value: Any, what: str) -> tuple[str, ...]:
    """A text or a list of texts as a tuple; null and what is blank, as an empty cell, is none.

    Raises:
        DataError: something else.
    """
    if value is None:
        return ()
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        value = [value]
    if isinstance(value, list) and all(isinstance(item, str | int | float) for item in value):
        return tuple(str(item) for item in value if str(item).strip())
    raise DataError(f"{what}: expected a text or a list of texts, got {type(value).__name__}")


def _text(path: Path) -> io.TextIOBase:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _lines(file: io.TextIOBase) -> Iterator[str]:
    while line := file.readline(_LONGEST + 1):
        yield line
        while len(line) > _LONGEST and not line.endswith("\n"):  # the rest of a line that is refused
            line = file.readline(_LONGEST + 1)
            if not line:
                return
