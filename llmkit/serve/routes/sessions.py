"""``/api/sessions``: the conversations of a caller."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal, Self

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field, model_validator
from starlette.requests import Request
from starlette.responses import Response

from llmkit.approval import Decision
from llmkit.errors import LlmkitError
from llmkit.pipeline.chat.session import ChatSession
from llmkit.pipeline.chat.session_store import Turn
from llmkit.pipeline.citation_json import citation_to_json
from llmkit.serve.errors import HttpError, error_body, to_http_error
from llmkit.serve.json_encoding import replace_surrogates
from llmkit.serve.routes.dependencies import caller_of, request_id_of, service_of, store_of
from llmkit.serve.routes.response_format import event_row, extension_fields, final_answer
from llmkit.serve.routes.sse import EventStream, format_event
from llmkit.serve.runtime.job_runner import Job
from llmkit.serve.runtime.service import RunResult

router = APIRouter(prefix="/api/sessions", tags=["sessions"])
Name = Annotated[str, Path(pattern=r"^[\w][\w .@-]{0,99}$")]


class Question(BaseModel, extra="forbid"):
    """The next question of a conversation."""

    question: str = Field(min_length=1)
    pipeline: str | None = None
    """Name of the pipeline; None takes the default."""
    attended: bool = False
    """Whether somebody is there to decide on an agent's calls. Otherwise calls that need a decision are not made."""


class DecisionRow(BaseModel, extra="forbid"):
    """The decision on one call."""

    kind: Literal["approve", "reject", "edit"]
    reason: str = Field(default="", max_length=2000)
    """Why the call is rejected; the model is told."""
    arguments: dict[str, Any] | None = None
    """All arguments to make the call with instead; needed for an edit."""

    @model_validator(mode="after")
    def _arguments_only_for_edit(self) -> Self:
        if (self.kind == "edit") != (self.arguments is not None):
            raise ValueError("an edit needs 'arguments', and other decisions take none")
        return self

    @property
    def decision(self) -> Decision:
        """The decision in the form that a pipeline takes."""
        return Decision(self.kind, self.reason, self.arguments or {})


class Decisions(BaseModel, extra="forbid"):
    """Decisions on the calls of a waiting turn, in the order of the calls."""

    wait: str = Field(pattern=r"^wt-[0-9a-f]{24}$")
    """The id that the event ``waiting`` names."""
    decisions: list[DecisionRow] = Field(min_length=1, max_length=100)


@router.get("")
def list_sessions(request: Request) -> dict[str, Any]:
    """List all conversations, the last used first. The title of a conversation is its first question."""
    store = store_of(request)
    waiting, titles = store.approvals.questions(), store.sessions.titles()
    rows = [
        {"name": name, "at": at, "turns": count, "title": titles.get(name, waiting.get(name, "")),
         "waiting": name in waiting}
        for name, at, count in store.sessions.names()
    ]  # fmt: skip
    return {"sessions": rows}


@router.get("/{name}")
def session(request: Request, name: Name) -> dict[str, Any]:
    """Return a conversation with its turns."""
    store = store_of(request)
    _check_exists(request, name)
    traces = store.traces.ids_by_turn(name)
    ratings = {row["id"]: row["rating"] for row in store.feedback.rows()}
    pending = service_of(request).pending_approval(caller_of(request), name)
    turns = [_turn_row(turn, traces.get(turn.n), ratings) for turn in store.sessions.turns(name)]
    return {"name": name, "turns": turns, "waiting": pending.row() if pending else None}


@router.post("/{name}/turns", response_model=None)
async def ask(request: Request, name: Name, body: Question) -> Response:
    """Ask the next question; the response is a stream of server-sent events.

    The events ``step``, ``token`` and ``note`` come as they happen, then ``done`` or ``error``. Tokens are a draft; the
    answer is the text of ``done``. A client that disconnects stops the run, and the turn is not stored. With
    ``attended``, the last event may be ``waiting``: it lists calls that are made only after a decision on each. The
    next question gives them up.
    """
    service = service_of(request)
    job = service.start_turn(
        caller_of(request),
        name,
        body.pipeline or service.registry.default,
        body.question,
        request_id=request_id_of(request),
        attended=body.attended,
    )
    return EventStream(_events(job, request), job)


@router.post("/{name}/decisions", response_model=None)
async def decide(request: Request, name: Name, body: Decisions) -> Response:
    """Decide on the calls of a waiting turn and resume it; the events are those of a turn."""
    decisions = [row.decision for row in body.decisions]
    job = service_of(request).resume_turn(
        caller_of(request), name, body.wait, decisions, request_id=request_id_of(request)
    )
    return EventStream(_events(job, request), job)


@router.delete("/{name}/turns/last")
def undo(request: Request, name: Name) -> dict[str, Any]:
    """Delete the last turn and its trace."""
    store = store_of(request)
    _check_exists(request, name)
    store.approvals.drop(name)
    turn = store.sessions.undo(name)
    if turn is not None:
        store.traces.delete_session(name, turn.n - 1)
    return {"undone": turn.n if turn else None}


@router.delete("/{name}")
def delete(request: Request, name: Name) -> dict[str, bool]:
    """Delete a conversation and its traces."""
    store = store_of(request)
    _check_exists(request, name)
    store.traces.delete_session(name)
    store.approvals.drop(name)
    return {"deleted": store.sessions.delete(name)}


@router.get("/{name}/markdown", response_class=Response)
def markdown(request: Request, name: Name) -> Response:
    """Return a conversation as Markdown, with its citations."""
    _check_exists(request, name)
    registry = service_of(request).registry
    chat = ChatSession(registry.get(registry.default), store_of(request).sessions, name)
    text = replace_surrogates(chat.markdown())
    return Response(text, media_type="text/markdown; charset=utf-8")


async def _events(job: Job[RunResult], request: Request) -> AsyncIterator[bytes]:
    yield format_event({"request": request_id_of(request)}, event="begun")
    try:
        async for event in job:
            if event.kind != "token" or event.text:
                yield format_event(event_row(event), event=event.kind)
        result = await job.result()
        if result.approval is not None:
            yield format_event(result.approval.row(), event="waiting")
            return
        text = final_answer(result.state).text
        answer = {"turn": result.turn, "pipeline": result.pipeline, "text": text, **extension_fields(result)}
        yield format_event(answer, event="done")
    except Exception as error:
        row = error_body(to_http_error(error), request_id_of(request), caller_of(request))
        yield format_event(row["error"], event="error")
        if not isinstance(error, LlmkitError):
            raise


def _check_exists(request: Request, name: str) -> None:
    if name not in {known for known, _, _ in store_of(request).sessions.names()}:
        raise HttpError(404, f"there is no conversation {name!r}")


def _turn_row(turn: Turn, trace: str | None, ratings: dict[str, str]) -> dict[str, Any]:
    return {
        "turn": turn.n,
        "at": turn.at,
        "question": turn.question,
        "text": turn.answer.text,
        "citations": [citation_to_json(citation) for citation in turn.answer.citations],
        "abstained": turn.answer.abstained,
        "unsupported": list(turn.answer.unsupported),
        "trace": trace,
        "rating": ratings.get(trace or ""),
    }
