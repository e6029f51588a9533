"""``/api/knowledge``: files in and out, search, and documents to read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, File, Form, Query, UploadFile
from pydantic import BaseModel, Field
from starlette.requests import Request

from llmkit import config
from llmkit.errors import KnowledgeError
from llmkit.knowledge.access_labels import labels
from llmkit.knowledge.filters.expression import parse
from llmkit.serve.auth.principal import Refused
from llmkit.serve.routes.dependencies import caller_of, service_of
from llmkit.serve.routes.passages import passage_row, window
from llmkit.serve.storage.files import FileRow, documents_of, every, found

router = APIRouter(prefix="/api/knowledge", tags=["knowledge"])
Word = Annotated[str, Query(min_length=1, max_length=500)]


class Search(BaseModel, extra="forbid"):
    """What to look for."""

    query: str = Field(min_length=1, max_length=10_000)
    k: int = Field(default=10, ge=1, le=100)
    retriever: Literal["hybrid", "dense", "bm25"] = "hybrid"
    where: str | None = Field(default=None, max_length=2000)
    """A filter, as in ``type == "pdf"``."""


class Forget(BaseModel, extra="forbid"):
    """What to forget."""

    documents: list[str] = Field(min_length=1, max_length=100)


@router.post("/files", status_code=202)
def upload(
    request: Request,
    files: Annotated[list[UploadFile], File()],
    access: Annotated[str, Form(max_length=2000)] = "",
) -> dict[str, Any]:
    """Bring files; they are read one after another, and ``GET /api/knowledge/files`` says how each fares.

    ``access`` are labels of who may read them, as in ``hr,board``; without it only the same key may, or everybody
    where the server asks for no keys.
    """
    service, caller = service_of(request), caller_of(request)
    taken = service.uploads.take(caller, [(one.filename, one.file) for one in files], labels(access or None))
    return {"files": [FileRow.of_pending(one).row() for one in taken]}


@router.get("/files")
def files(request: Request) -> dict[str, Any]:
    """The files the caller may read, with what became of them; those on their way first."""
    service, caller = service_of(request), caller_of(request)
    return {"files": [one.row() for one in every(service, caller)]}


@router.delete("/files")
def delete(request: Request, name: Word) -> dict[str, Any]:
    """Take a file's documents out; of an uploaded one the file, too. Older generations still show them: see forget."""
    service, caller = service_of(request), caller_of(request)
    path, ids = found(service, caller, name)
    with service.uploads.writing() as kb:
        if service.uploads.remove(path):
            return {"deleted": kb.delete_source(path)}
        return {"deleted": kb.delete(ids) if ids else 0}


@router.post("/forget")
def forget(request: Request, asked: Forget) -> dict[str, Any]:
    """Take documents out of every generation, and out of every conversation, trace and rating that quotes them."""
    service, caller = service_of(request), caller_of(request)
    for name in asked.documents:
        path = documents_of(service, name)
        if path is None or not (caller.may("admin") or service.uploads.mine(caller, path)):
            raise Refused(404, f"no document {name!r} of yours")
    erased: dict[str, int] = {}

    def erase(ids: Sequence[str]) -> None:
        erased.update(service.drawers.erase(kb.quotes(ids), caller))

    with service.uploads.writing() as kb:
        paths = [path for name in asked.documents if (path := documents_of(service, name)) is not None]
        gone = kb.forget(asked.documents, before=erase)
        for path in paths:
            service.uploads.remove(path)
    told = {"versions": gone.documents, "chunks": gone.chunks, **erased}
    return told | ({"copies": list(gone.copies), "namesakes": list(gone.namesakes)} if caller.may("admin") else {})


@router.post("/search")
def search(request: Request, asked: Search) -> dict[str, Any]:
    """Passages that answer a query, without an answer."""
    where = parse(asked.where) if asked.where else None
    retriever: Any = config.build_part("retriever", asked.retriever)
    with service_of(request).shelf.lease(caller_of(request).reader) as kb:
        hits = retriever.retrieve(kb, [asked.query], asked.k, where)[0]
        return {"passages": [passage_row(n, hit) for n, hit in enumerate(hits, 1)], "notes": kb.take_notes()}


@router.get("/document")
def document(
    request: Request,
    id: Word,
    version: Annotated[str | None, Query(max_length=64)] = None,
    start: Annotated[int, Query(ge=0)] = 0,
    end: Annotated[int, Query(ge=0)] = 0,
) -> dict[str, Any]:
    """A document's text around a passage, in three pieces: before it, the passage, after it."""
    with service_of(request).shelf.lease(caller_of(request).reader) as kb:
        try:
            found = kb.document(id, version)
        except KnowledgeError:
            raise Refused(404, f"there is no document {id!r}{' of that version' if version else ''}") from None
    return window(found, start, end)
