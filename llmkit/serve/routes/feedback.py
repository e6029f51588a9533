"""``/api/feedback`` and ``/api/traces``: ratings of answers, and what happened in their runs."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from llmkit.serve.errors import HttpError
from llmkit.serve.json_encoding import encode_json
from llmkit.serve.routes.dependencies import store_of

router = APIRouter(prefix="/api", tags=["traces and feedback"])
TraceId = Annotated[str, Path(pattern=r"^tr-[0-9a-f]{24}$")]


class Feedback(BaseModel, extra="forbid"):
    """A user's rating of an answer."""

    trace: str = Field(pattern=r"^tr-[0-9a-f]{24}$")
    """The trace id that the answer names."""
    rating: Literal["up", "down", "none"]
    """``none`` withdraws an earlier rating."""
    comment: str = Field(default="", max_length=5000)
    correction: str = Field(default="", max_length=20_000)
    """The right answer, with a thumb down."""


@router.get("/traces/{name}")
def trace(request: Request, name: TraceId) -> dict[str, Any]:
    """Return the trace of a run: passages retrieved and kept, prompts, replies, tokens and times."""
    row = store_of(request).traces.get(name)
    if row is None:
        raise HttpError(404, f"there is no trace {name}")
    return row


@router.post("/feedback")
def rate(request: Request, body: Feedback) -> dict[str, Any]:
    """Rate an answer. The rating becomes a row of an evaluation data set, in place of an earlier one."""
    store = store_of(request)
    if body.rating == "none":
        return {"withdrawn": store.feedback.withdraw(body.trace)}
    row = store.traces.get(body.trace)
    if row is None:
        raise HttpError(404, f"there is no trace {body.trace}")
    return store.feedback.rate(row, body.rating, comment=body.comment, correction=body.correction)


@router.get("/feedback", response_class=Response)
def data_set(request: Request) -> Response:
    """Return the data set of ratings as JSONL."""
    rows = b"".join(encode_json(row) + b"\n" for row in store_of(request).feedback.rows())
    return Response(rows, media_type="application/jsonl; charset=utf-8")
