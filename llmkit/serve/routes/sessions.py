"""``/api/sessions``: conversations of a caller."""

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
from llmkit.serve.auth.principal import Refused
from llmkit.serve.errors import body, refusal
from llmkit.serve.routes.dependencies import caller_of, drawer_of, request_of, service_of
from llmkit.serve.routes.response_format import answer_of, beside, event_row
from llmkit.serve.routes.sse import EventStream, line
from llmkit.serve.runtime.jobs import Order
from llmkit.serve.runtime.service import Answered

router = APIRouter(prefix="/api/sessions", tags=["sessions"])
Name = Annotated[str, Path(pattern=r"^[\w][\w .@-]{0,99}$")]


class Question(BaseModel, extra="forbid"):
    """The next question of a conversation."""

    question: str = Field(min_length=1)
    pipeline: str | None = None
    """None: the default."""
    attended: bool = False
    """Whether somebody is there to decide on calls of an agent; where nobody is, they are not made."""


class DecisionRow(BaseModel, extra="forbid"):
    """What becomes of a call."""

    kind: Literal["approve", "reject", "edit"]
    reason: str = Field(default="", max_length=2000)
    """Of a rejection: the model is told."""
    arguments: dict[str, Any] | None = None
    """Of an edit: what the call is made with instead, all of them."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.kind == "edit") != (self.arguments is not None):
            raise ValueError("an edit has 'arguments', nothing else has")
        return self

    @property
    def decision(self) -> Decision:
        """As a pipeline takes it."""
        return Decision(self.kind, self.reason, self.arguments or {})


class Decisions(BaseModel, extra="forbid"):
    """Decisions on the calls that wait, in their order."""

    wait: str = Field(pattern=r"^wt-[0-9a-f]{24}$")
    decisions: list[DecisionRow] = Field(min_length=1, max_length=100)


@router.get("")
def every(request: Request) -> dict[str, Any]:
    """All conversations, the last used first; a title is the first question."""
    drawer = drawer_of(request)
    waiting, titles = drawer.waits.questions(), drawer.sessions.titles()
    rows = [
        {"name": name, "at": at, "turns": count, "title": titles.get(name, waiting.get(name, "")),
         "waiting": name in waiting}
        for name, at, count in drawer.sessions.names()
    ]  # fmt: skip
    return {"sessions": rows}


@router.get("/{name}")
def one(request: Request, name: Name) -> dict[str, Any]:
    """A conversation with its turns."""
    drawer = drawer_of(request)
    _there(request, name)
    traces = drawer.traces.of_session(name)
    ratings = {row["id"]: row["rating"] for row in drawer.ratings.rows()}
    wait = service_of(request).waiting(caller_of(request), name)
    turns = [_turn(turn, traces.get(turn.n), ratings) for turn in drawer.sessions.turns(name)]
    return {"name": name, "turns": turns, "waiting": wait.row() if wait else None}


@router.post("/{name}/turns", response_model=None)
async def ask(request: Request, name: Name, asked: Question) -> Response:
    """Ask the next question. Server-sent events: ``step``, ``token`` and ``note`` as they happen, then ``done`` or
    ``error``. What the tokens say is a draft; the answer is that of ``done``. A client that leaves stops the run, and
    the turn is not kept. Where the client is ``attended``, the last event may be ``waiting``: calls that are not made
    until there is a decision on each. Another question gives them up.
    """  # noqa: D205
    service = service_of(request)
    model = asked.pipeline or service.menu.default
    order = service.go_on(
        caller_of(request), name, model, asked.question, request=request_of(request), attended=asked.attended
    )
    return EventStream(_events(order, request), order)


@router.post("/{name}/decisions", response_model=None)
async def decide(request: Request, name: Name, given: Decisions) -> Response:
    """Decide on the calls a turn waits for, and go on with it: the same events, maybe ``waiting`` again."""
    made = [one.decision for one in given.decisions]
    order = service_of(request).decide(caller_of(request), name, given.wait, made, request=request_of(request))
    return EventStream(_events(order, request), order)


@router.delete("/{name}/turns/last")
def undo(request: Request, name: Name) -> dict[str, Any]:
    """Take the last turn back."""
    drawer = drawer_of(request)
    _there(request, name)
    drawer.waits.drop(name)
    gone = drawer.sessions.undo(name)
    if gone is not None:
        drawer.traces.drop_session(name, gone.n - 1)
    return {"undone": gone.n if gone else None}


@router.delete("/{name}")
def delete(request: Request, name: Name) -> dict[str, bool]:
    """Delete a conversation and its traces."""
    drawer = drawer_of(request)
    _there(request, name)
    drawer.traces.drop_session(name)
    drawer.waits.drop(name)
    return {"deleted": drawer.sessions.delete(name)}


@router.get("/{name}/markdown", response_class=Response)
def markdown(request: Request, name: Name) -> Response:
    """A conversation as Markdown, with its citations."""
    _there(request, name)
    service = service_of(request)
    chat = ChatSession(service.menu.find(service.menu.default), drawer_of(request).sessions, name)
    return Response(chat.markdown(), media_type="text/markdown; charset=utf-8")


async def _events(order: Order[Answered], request: Request) -> AsyncIterator[bytes]:
    yield line({"request": request_of(request)}, event="begun")
    try:
        async for event in order:
            if event.kind != "token" or event.text:
                yield line(event_row(event), event=event.kind)
        done = await order.result()
        if done.wait is not None:
            yield line(done.wait.row(), event="waiting")
            return
        text = answer_of(done.state).text
        yield line({"turn": done.turn, "pipeline": done.pipeline, "text": text, **beside(done)}, event="done")
    except Exception as error:
        told = body(refusal(error), request_of(request), caller_of(request))
        yield line(told["error"], event="error")
        if not isinstance(error, LlmkitError):
            raise


def _there(request: Request, name: str) -> None:
    if name not in {known for known, _, _ in drawer_of(request).sessions.names()}:
        raise Refused(404, f"there is no conversation {name!r}")


def _turn(turn: Turn, trace: str | None, ratings: dict[str, str]) -> dict[str, Any]:
    return {
        "turn": turn.n,
        "at": turn.at,
        "question": turn.question,
        "text": turn.answer.text,
        "citations": [citation_to_json(one) for one in turn.answer.citations],
        "abstained": turn.answer.abstained,
        "unsupported": list(turn.answer.unsupported),
        "trace": trace,
        "rating": ratings.get(trace or ""),
    }
