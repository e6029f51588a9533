"""``/api/feedback`` and ``/api/traces``: what a caller made of answers, and how they came about."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from llmkit.serve.auth.principal import Refused
from llmkit.serve.routes.dependencies import drawer_of

router = APIRouter(prefix="/api", tags=["traces and feedback"])
Trace = Annotated[str, Path(pattern=r"^tr-[0-9a-f]{24}$")]


class Feedback(BaseModel, extra="forbid"):
    """What somebody thinks of an answer."""

    trace: str = Field(pattern=r"^tr-[0-9a-f]{24}$")
    rating: Literal["up", "down", "none"]
    """none: takes a rating back."""
    comment: str = Field(default="", max_length=5000)
    correction: str = Field(default="", max_length=20_000)
    """The right answer, with a thumb down."""


@router.get("/traces/{name}")
def trace(request: Request, name: Trace) -> dict[str, Any]:
    """Everything that happened to a question: what was retrieved, kept and said, prompts, tokens, times."""
    found = drawer_of(request).traces.find(name)
    if found is None:
        raise Refused(404, f"there is no trace {name}")
    return found


@router.post("/feedback")
def rate(request: Request, given: Feedback) -> dict[str, Any]:
    """Rate an answer; the row lands in an eval data set, and a later rating takes its place."""
    drawer = drawer_of(request)
    if given.rating == "none":
        return {"withdrawn": drawer.ratings.withdraw(given.trace)}
    found = drawer.traces.find(given.trace)
    if found is None:
        raise Refused(404, f"there is no trace {given.trace}")
    return drawer.ratings.rate(found, given.rating, comment=given.comment, correction=given.correction)


@router.get("/feedback", response_class=Response)
def ratings(request: Request) -> Response:
    """The data set: one JSON row a line."""
    rows = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in drawer_of(request).ratings.rows())
    return Response(rows, media_type="application/jsonl; charset=utf-8")
