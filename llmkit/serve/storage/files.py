"""The files behind the documents, as one caller may see them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from llmkit.serve.auth.principal import Caller, Refused
from llmkit.serve.storage.uploads import Pending

if TYPE_CHECKING:
    from llmkit.serve.runtime.service import Service


@dataclass(frozen=True, slots=True)
class FileRow:
    """A file and what became of it."""

    name: str
    """What to delete it by."""
    file: str
    """What to call it."""
    status: str
    reason: str
    mine: bool
    """Whether the caller may delete it."""
    documents: tuple[str, ...] = ()
    """Ids, the first hundred."""

    @classmethod
    def of_pending(cls, one: Pending) -> FileRow:
        """A file on its way."""
        return cls(one.name, one.file, one.status, one.reason, mine=True)

    def row(self) -> dict[str, Any]:
        """JSON values."""
        return {**asdict(self), "documents": list(self.documents)}


def every(service: Service, caller: Caller) -> list[FileRow]:
    """The caller's own files, whatever became of them, and others with a document that the caller may read."""
    pending = {one.name: one for one in service.uploads.pending(caller)}
    known: dict[str, FileRow] = {}
    if service.shelf.there:
        with service.shelf.lease() as owner, service.shelf.lease(caller.reader) as kb:
            readable = kb.documents_by_source()
            rows = owner.sources()
            for row in rows:
                uri, name = row.uri, row.name
                mine = service.uploads.mine(caller, uri)
                if not (mine or uri in readable or caller.reader is None):
                    continue
                told = row.reason if mine or caller.reader is None else ""
                shown = name.partition("/")[2] if mine else name
                ids = tuple(readable.pop(uri, ())[:100])
                known[name] = FileRow(name, shown or name, row.status, told, mine or caller.may("admin"), ids)
            for source, others in readable.items():  # what was added from Python
                if source not in {row.uri for row in rows}:
                    known[source] = FileRow(source, source, "parsed", "", caller.may("admin"), tuple(others[:100]))
    coming = [FileRow.of_pending(one) for one in pending.values() if not one.done or one.name not in known]
    names = {one.name for one in coming}
    return [*coming, *(one for name, one in known.items() if name not in names)]


def found(service: Service, caller: Caller, name: str) -> tuple[str, list[str]]:
    """Path and documents of a file that the caller may delete.

    Raises:
        Refused: 404, there is none.
    """
    with service.shelf.lease() as kb:
        rows = kb.sources(name=name)
        uris = [row.uri for row in rows] or [name]
        for uri in uris:
            if caller.may("admin") or service.uploads.mine(caller, uri):
                ids = kb.document_ids(uri)
                if rows or ids:
                    return uri, ids
    raise Refused(404, f"there is no file {name!r} of yours")


def documents_of(service: Service, document: str) -> str | None:
    """The source of a document that is or was there; None where there never was one."""
    with service.shelf.lease() as kb:
        return kb.source_of(document)
