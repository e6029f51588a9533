"""One file into documents, in this process, with every failure given its status and plain reason."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from llmkit.errors import DataError, MissingExtra
from llmkit.text.formats import read
from llmkit.text.formats.content import Content
from llmkit.text.formats.limits import Limits, Status, Unreadable, size
from llmkit.text.formats.tabular.rows import Rows
from llmkit.types import Document

HEAD = 64 * 1024


@dataclass(frozen=True, slots=True)
class Parsed:
    """What became of one file."""

    kind: str
    status: Status
    reason: str = ""
    documents: Iterable[Document] = ()


def parse(path: Path, id: str, limits: Limits) -> Parsed:
    """Read a file that is not streamed; raises nothing but what ends the process."""
    try:
        data = path.read_bytes()
        return _parse(data, path.name, id, limits)
    except Unreadable as error:
        return Parsed("", error.status, str(error))
    except MissingExtra as error:
        return Parsed("", "unsupported", str(error))
    except DataError as error:
        return Parsed("", "failed", str(error))
    except MemoryError:
        return Parsed("", "too_large", "needs more memory than a parser may have")
    except RecursionError:
        return Parsed("", "failed", "nested too deep")
    except OSError as error:
        return Parsed("", "failed", f"cannot be read: {error.strerror or error}")
    except Exception as error:
        return Parsed("", "failed", f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")


def _parse(data: bytes, name: str, id: str, limits: Limits) -> Parsed:
    kind, found = read(Content(data, name, id, limits))
    documents = [document for document in found if document.text.strip()]
    if not documents:
        notes = "; ".join(note for document in found[:1] for note in document.notes)
        return Parsed(kind, "empty", f"no text in it{f' ({notes})' if notes else ''}")
    return Parsed(kind, "parsed", "", documents)


def before(path: Path, id: str, limits: Limits) -> Parsed | None:
    """What can be said without parsing: a row file to stream, or a file not worth opening; None to go on."""
    try:
        length = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError as error:
        return Parsed("", "failed", f"cannot be read: {error.strerror or error}")
    if not length:
        return Parsed("", "empty", "the file is empty")
    if is_rows(head, path.name):
        return Parsed("jsonl", "parsed", "", Rows(path, id, limits))
    if length > limits.max_bytes:
        return Parsed("", "too_large", f"{size(length)}, more than {size(limits.max_bytes)}")
    return None


def is_rows(head: bytes, name: str) -> bool:
    """Whether a file that begins so is streamed row by row."""
    from llmkit.text.loading.detect_type import holds_rows

    if head.startswith(b"\x1f\x8b"):
        import zlib

        try:
            head = zlib.decompressobj(31).decompress(head, HEAD)
        except zlib.error:
            return False
    return b"\0" not in head and holds_rows(head, name)
