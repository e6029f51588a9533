"""``/api/knowledge``: upload, list and delete files, search, and read documents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, File, Form, Query, UploadFile
from pydantic import BaseModel, Field
from starlette.requests import Request

from llmkit import config
from llmkit.errors import KnowledgeError
from llmkit.knowledge.access_labels import labels
from llmkit.knowledge.filters.where import parse
from llmkit.serve.errors import HttpError
from llmkit.serve.routes.dependencies import caller_of, service_of
from llmkit.serve.routes.files import FileRow, find_file, list_files, source_of
from llmkit.serve.routes.passages import document_window, passage_row

router = APIRouter(prefix="/api/knowledge", tags=["knowledge"])
Name = Annotated[str, Query(min_length=1, max_length=500)]


class Search(BaseModel, extra="forbid"):
    """A search."""

    query: str = Field(min_length=1, max_length=10_000)
    k: int = Field(default=10, ge=1, le=100)
    """Number of passages."""
    retriever: Literal["hybrid", "dense", "bm25"] = "hybrid"
    where: str | None = Field(default=None, max_length=2000)
    """A filter, such as ``type == "pdf"``."""


class Forget(BaseModel, extra="forbid"):
    """The documents to forget."""

    documents: list[str] = Field(min_length=1, max_length=100)
    """Ids."""


@router.post("/files", status_code=202)
def upload(
    request: Request,
    files: Annotated[list[UploadFile], File()],
    access: Annotated[str, Form(max_length=2000)] = "",
) -> dict[str, Any]:
    """Accept files, which are then read in the background; ``GET`` lists their status.

    A file replaces an earlier one of the same name. Holders of the labels in ``access`` may read the documents; without
    labels, callers with the same key may, or everybody where the server requires no keys.
    """
    service, caller = service_of(request), caller_of(request)
    accepted = service.uploads.accept(caller, [(file.filename, file.file) for file in files], labels(access or None))
    service.upload_reader.read(accepted)
    return {"files": [FileRow.of_upload(each).row() for each in accepted]}


@router.get("/files")
def files(request: Request) -> dict[str, Any]:
    """List the files that the caller may read, with their status; uploads that are not read yet come first."""
    return {"files": [file.row() for file in list_files(service_of(request), caller_of(request))]}


@router.delete("/files")
def delete(request: Request, name: Name) -> dict[str, Any]:
    """Delete a file's documents, and an uploaded file itself. Earlier generations keep the documents; see forget."""
    service, caller = service_of(request), caller_of(request)
    path, ids = find_file(service, caller, name)
    with service.upload_reader.open_for_writing() as kb:
        if service.uploads.remove(path):
            return {"deleted": kb.delete_source(path)}
        return {"deleted": kb.delete(ids) if ids else 0}


@router.post("/forget")
def forget(request: Request, body: Forget) -> dict[str, Any]:
    """Delete documents from every generation, with the conversations, traces and ratings that quote them."""
    service, caller = service_of(request), caller_of(request)
    for document in body.documents:
        path = source_of(service, document)
        if path is None or not (caller.may("admin") or service.uploads.belongs_to(caller, path)):
            raise HttpError(404, f"you have no document {document!r}")
    erased: dict[str, int] = {}

    def erase_quotes(ids: Sequence[str]) -> None:
        erased.update(service.stores.erase(kb.quotes(ids), caller))

    with service.upload_reader.open_for_writing() as kb:
        paths = [path for document in body.documents if (path := source_of(service, document)) is not None]
        summary = kb.forget(body.documents, before=erase_quotes)
        for path in paths:
            service.uploads.remove(path)
    row: dict[str, Any] = {"versions": summary.documents, "chunks": summary.chunks, **erased}
    if caller.may("admin"):
        row |= {"copies": list(summary.copies), "namesakes": list(summary.namesakes)}
    return row


@router.post("/search")
def search(request: Request, body: Search) -> dict[str, Any]:
    """Search for passages, without an answer."""
    where = parse(body.where) if body.where else None
    retriever: Any = config.build_part("retriever", body.retriever)
    with service_of(request).knowledge.view(caller_of(request).reader) as kb:
        hits = retriever.retrieve(kb, [body.query], body.k, where)[0]
        return {"passages": [passage_row(n, hit) for n, hit in enumerate(hits, 1)], "notes": kb.take_notes()}


@router.get("/document")
def document(
    request: Request,
    id: Name,
    version: Annotated[str | None, Query(max_length=64)] = None,
    start: Annotated[int, Query(ge=0)] = 0,
    end: Annotated[int, Query(ge=0)] = 0,
) -> dict[str, Any]:
    """Return a document's text around a passage, in three pieces: before it, the passage, after it."""
    with service_of(request).knowledge.view(caller_of(request).reader) as kb:
        try:
            found = kb.document(id, version)
        except KnowledgeError:
            raise HttpError(404, f"there is no document {id!r}{' of that version' if version else ''}") from None
    return document_window(found, start, end)
