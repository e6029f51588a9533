"""Row files (JSONL): a document a line, streamed; broken lines are counted, the others go through."""

from __future__ import annotations

import io
import json
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, cast

from llmkit.errors import DataError
from llmkit.text.formats.draft import Draft
from llmkit.text.formats.limits import MIB, Limits, size
from llmkit.text.formats.tabular.values import render
from llmkit.types import Document, Json

TEXT_KEYS = ("text", "content", "contents", "passage", "body", "page_content")
ID_KEYS = ("id", "_id", "docid", "doc_id")
_SHOWN = 20
_LOOK = 50


class Rows:
    """Documents of a row file, read as they are asked for; each iteration reads the file anew.

    `rejected` and the counts describe the last iteration, and are complete when it is.
    """

    def __init__(self, path: Path, source: str, limits: Limits) -> None:
        self.path, self.source, self.limits = path, source, limits
        self.rejected: list[str] = []
        """The first lines left out, as ``line 7: not JSON``."""
        self.rejected_count = 0
        """All lines left out."""
        self.accepted_count = 0
        """Documents given."""

    def __iter__(self) -> Iterator[Document]:
        self.rejected, self.rejected_count, self.accepted_count = [], 0, 0
        reader = RowReader(self.source, "jsonl")
        early: list[tuple[int, str]] = []
        try:
            for number, line in self._lines():
                early.append((number, line))
                if len(early) == _LOOK:
                    break
                if len(line) > MIB:
                    break
            reader.look(_try(line) for _, line in early)
            del early
            self.rejected, self.rejected_count = [], 0
            for number, line in self._lines():
                document = self._document(reader, number, line)
                if document:
                    self.accepted_count += 1
                    yield document
        except (OSError, EOFError, zlib.error) as error:
            self._reject(f"after {self.accepted_count:,} rows: {_plain(error)}")

    @property
    def summary(self) -> str:
        """What was left out, in a line; empty where nothing was."""
        if not self.rejected_count:
            return ""
        more = self.rejected_count - min(3, len(self.rejected))
        shown = "; ".join(self.rejected[:3])
        return f"{self.rejected_count:,} rows left out: {shown}" + (f"; and {more:,} more" if more else "")

    def _document(self, reader: RowReader, number: int, line: str) -> Document | None:
        if not line.strip():
            return None
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            self._reject(f"line {number}: not JSON ({_plain(error)})")
            return None
        try:
            return reader.document(row, number)
        except DataError as error:
            self._reject(f"line {number}: {error}")
            return None

    def _reject(self, reason: str) -> None:
        self.rejected_count += 1
        if len(self.rejected) < _SHOWN:
            self.rejected.append(reason)

    def _lines(self) -> Iterator[tuple[int, str]]:
        """Numbered lines; a line that is too long is rejected without being held."""
        most = self.limits.max_line
        self_count = 0
        with self.path.open("rb") as raw:
            file: IO[bytes] = raw
            if raw.read(2) == b"\x1f\x8b":
                raw.seek(0)
                file = cast("IO[bytes]", _Gunzip(raw, self.limits))
            else:
                raw.seek(0)
            stream = io.BufferedReader(cast("io.RawIOBase", file), 1 << 16) if file is not raw else file
            while line := stream.readline(most + 1):
                self_count += 1
                if len(line) > most:
                    while line and not line.endswith(b"\n"):
                        line = stream.readline(most)
                    self._reject(f"line {self_count}: longer than {size(most)}")
                    continue
                try:
                    yield self_count, line.decode("utf-8-sig" if self_count == 1 else "utf-8")
                except UnicodeDecodeError:
                    self._reject(f"line {self_count}: not UTF-8")


class RowReader:
    """Turns parsed rows into documents."""

    def __init__(self, source: str, kind: str) -> None:
        self.source, self.kind = source, kind
        self.text_key = ""
        self.seen: set[int] = set()  # hashes of ids: eight bytes an id, however long it is

    def look(self, rows: Iterator[object]) -> None:
        """Choose the key that holds the text, if the first rows have one."""
        found = [row for row in rows if isinstance(row, dict)]
        for key in TEXT_KEYS:
            if sum(isinstance(row.get(key), str) for row in found) > len(found) / 2:
                self.text_key = key
                return

    def document(self, row: object, number: int) -> Document:
        """The document of one row.

        Raises:
            DataError: It has no text, or an id that was there before.
        """
        id = self._id(row, number) if self.text_key else f"{self.source}:{number}"
        if self.text_key:
            if not isinstance(row, dict):
                raise DataError("not an object")
            text = row.get(self.text_key)
            if not isinstance(text, str):
                raise DataError(f"no {self.text_key!r}")
            if not text.strip():
                raise DataError(f"{self.text_key!r} is empty")
            document = self._verbatim(row, text, id)
        else:
            draft = Draft()
            render(draft, cast("Json", row))
            document = draft.document(id, self.source, self.kind)
            if isinstance(row, dict) and isinstance(row.get("title"), str):
                document = replace(document, title=row["title"])
            if isinstance(row, dict) and "access" in row:
                document = replace(document, metadata={**document.metadata, "access": row["access"]})
            if not document.text:
                raise DataError("no text in it")
        try:
            json.dumps([document.id, document.text, document.title, document.metadata], ensure_ascii=False).encode()
        except (UnicodeEncodeError, RecursionError):
            raise DataError("half of a surrogate pair in it") from None
        mark = hash(id)
        if mark in self.seen:
            raise DataError(f"the id {id[:80]!r} was there before")
        self.seen.add(mark)
        return document

    def _id(self, row: object, number: int) -> str:
        if isinstance(row, dict):
            for key in ID_KEYS:
                if isinstance(row.get(key), (str, int)) and not isinstance(row[key], bool) and str(row[key]).strip():
                    return str(row[key])
        return f"{self.source}:{number}"

    def _verbatim(self, row: dict[str, Json], text: str, id: str) -> Document:
        title = row.get("title")
        metadata: dict[str, Json] = {"path": self.source, "type": self.kind}
        for key, value in row.items():
            if key == self.text_key or key in ID_KEYS or (key == "title" and isinstance(title, str)):
                continue
            if key == "metadata" and isinstance(value, dict):
                metadata.update(value)
            else:
                metadata[key] = value
        return Document(id=id, text=text, title=title if isinstance(title, str) else "", metadata=metadata)


class _Gunzip(io.RawIOBase):
    """A gzip stream that stops where it expands too far."""

    def __init__(self, raw: IO[bytes], limits: Limits) -> None:
        self.raw, self.limits = raw, limits
        self.taken = self.given = 0
        self.stream = zlib.decompressobj(31)
        self.rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while True:
            if not self.rest:
                self.rest = self.raw.read(1 << 16)
                self.taken += len(self.rest)
                if not self.rest:
                    if not self.stream.eof:
                        raise EOFError("the gzip file ends early")
                    return 0
            if self.stream.eof:
                self.rest = self.rest.lstrip(b"\0")
                if not self.rest:
                    continue
                self.stream = zlib.decompressobj(31)
            data = self.stream.decompress(self.rest, len(buffer))
            self.rest = self.stream.unconsumed_tail or self.stream.unused_data
            self.given += len(data)
            if self.given > 64 * MIB and self.given > self.limits.max_ratio * self.taken:
                raise EOFError(f"it expands more than {self.limits.max_ratio:.0f} times (a gzip bomb?)")
            if data:
                buffer[: len(data)] = data
                return len(data)


def _try(line: str) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _plain(error: BaseException) -> str:
    if isinstance(error, RecursionError):
        return "nested too deep"
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg.lower()} at column {error.colno}"
    return str(error)[:200]
