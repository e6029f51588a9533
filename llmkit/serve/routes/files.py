"""The list of files behind the documents, as one caller may see it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from llmkit.serve.auth.principal import Principal
from llmkit.serve.errors import HttpError
from llmkit.serve.runtime.service import Service
from llmkit.serve.storage.uploads import Upload

_MAX_DOCUMENTS = 100  # ids listed of one file


@dataclass(frozen=True, slots=True)
class FileRow:
    """A file and its status."""

    name: str
    """The name to delete it by."""
    file: str
    """The name to show."""
    status: str
    reason: str
    mine: bool
    """Whether the caller may delete it."""
    documents: tuple[str, ...] = ()
    """Ids of its documents, at most 100."""
    replaced: bool = False
    """Whether the upload took the place of an earlier file of the same name."""

    @classmethod
    def of_upload(cls, upload: Upload) -> FileRow:
        """Return the row of an upload."""
        return cls(upload.name, upload.file, upload.status, upload.reason, mine=True, replaced=upload.replaced)

    def row(self) -> dict[str, Any]:
        """Return the row as a JSON object."""
        return {**asdict(self), "documents": list(self.documents)}


def list_files(service: Service, caller: Principal) -> list[FileRow]:
    """Return the caller's own files, whatever their status, and others with a document that the caller may read.

    Uploads that are not read yet come first.
    """
    uploads = {upload.name: upload for upload in service.uploads.of_caller(caller)}
    known: dict[str, FileRow] = {}
    if service.knowledge.exists:
        with service.knowledge.view() as owner, service.knowledge.view(caller.reader) as kb:
            readable: dict[str, list[str]] = {}
            for source, document in kb.catalog.rows("SELECT source, id FROM documents WHERE died IS NULL ORDER BY seq"):
                readable.setdefault(source, []).append(document)
            rows = owner.catalog.rows("SELECT uri, name, status, reason FROM sources WHERE died IS NULL ORDER BY name")
            for uri, name, status, reason in rows:
                own = service.uploads.belongs_to(caller, uri)
                if not (own or uri in readable or caller.reader is None):
                    continue
                visible_reason = reason if own or caller.reader is None else ""
                shown = name.partition("/")[2] if own else name
                documents = tuple(readable.pop(uri, ())[:_MAX_DOCUMENTS])
                may_delete = own or caller.may("admin")
                known[name] = FileRow(name, shown or name, status, visible_reason, may_delete, documents)
            uris = {uri for uri, *_ in rows}
            for source, ids in readable.items():
                if source not in uris:  # documents that were added from Python
                    documents = tuple(ids[:_MAX_DOCUMENTS])
                    known[source] = FileRow(source, source, "parsed", "", caller.may("admin"), documents)
    coming = [
        FileRow.of_upload(upload) for upload in uploads.values() if not upload.finished or upload.name not in known
    ]
    names = {file.name for file in coming}
    return [*coming, *(file for name, file in known.items() if name not in names)]


def find_file(service: Service, caller: Principal, name: str) -> tuple[str, list[str]]:
    """Return the path of a file that the caller may delete, and the ids of its documents.

    Raises:
        HttpError: 404, the caller has no such file.
    """
    with service.knowledge.view() as kb:
        rows = kb.catalog.rows("SELECT uri FROM sources WHERE name = ? AND died IS NULL", (name,))
        uris = [uri for (uri,) in rows] or [name]
        for uri in uris:
            if caller.may("admin") or service.uploads.belongs_to(caller, uri):
                ids = kb.catalog.rows("SELECT id FROM documents WHERE source = ? AND died IS NULL", (uri,))
                if rows or ids:
                    return uri, [document for (document,) in ids]
    raise HttpError(404, f"you have no file {name!r}")


def source_of(service: Service, document: str) -> str | None:
    """Return the source of a document of the latest or an earlier generation; None where there never was one."""
    with service.knowledge.view() as kb:
        rows = kb.catalog.rows("SELECT source FROM documents WHERE id = ? ORDER BY seq DESC LIMIT 1", (document,))
        return rows[0][0] if rows else None
