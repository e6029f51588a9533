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
            readable = kb.documents_by_source()
            sources = owner.sources()
            for source in sources:
                own = service.uploads.belongs_to(caller, source.uri)
                if not (own or source.uri in readable or caller.reader is None):
                    continue
                reason = source.reason if own or caller.reader is None else ""
                shown = source.name.partition("/")[2] if own else source.name
                documents = tuple(readable.pop(source.uri, ())[:_MAX_DOCUMENTS])
                may_delete = own or caller.may("admin")
                known[source.name] = FileRow(
                    source.name, shown or source.name, source.status, reason, may_delete, documents
                )
            uris = {source.uri for source in sources}
            for uri, ids in readable.items():
                if uri not in uris:  # documents that were added from Python
                    documents = tuple(ids[:_MAX_DOCUMENTS])
                    known[uri] = FileRow(uri, uri, "parsed", "", caller.may("admin"), documents)
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
        sources = kb.sources(name=name)
        for uri in [source.uri for source in sources] or [name]:
            if caller.may("admin") or service.uploads.belongs_to(caller, uri):
                ids = kb.document_ids(uri)
                if sources or ids:
                    return uri, ids
    raise HttpError(404, f"you have no file {name!r}")


def source_of(service: Service, document: str) -> str | None:
    """Return the source of a document of the latest or an earlier generation; None where there never was one."""
    with service.knowledge.view() as kb:
        return kb.source_of(document)
