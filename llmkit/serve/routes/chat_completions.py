"""``/v1/models`` and ``/v1/chat/completions``: every pipeline is a model."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from llmkit.errors import LlmkitError
from llmkit.serve.errors import body, refusal
from llmkit.serve.routes.dependencies import caller_of, request_of, service_of, started
from llmkit.serve.routes.request_schemas import ChatRequest, turns, without_effect
from llmkit.serve.routes.response_format import answer_of, beside, texts, usage
from llmkit.serve.routes.sse import EventStream, line, outcome
from llmkit.serve.runtime.pipeline_registry import drafts
from llmkit.serve.runtime.service import Answered

router = APIRouter(tags=["OpenAI"])
_MADE = int(time.time())


@router.get("/v1/models")
def models(request: Request) -> dict[str, Any]:
    """The pipelines, the default first, and the encoder of the knowledge base."""
    service = service_of(request)
    rows = [
        {"id": name, "object": "model", "created": _MADE, "owned_by": "llmkit", "description": one.description}
        for name, one in service.menu.pipelines.items()
    ]
    if service.shelf.there:
        with service.shelf.lease(caller_of(request).reader) as kb:
            about = f"encoder of the knowledge base: {kb.identity}"
        rows.append({"id": "encoder", "object": "model", "created": _MADE, "owned_by": "llmkit", "description": about})
    return {"object": "list", "data": rows}


@router.get("/v1/models/{name}")
def model(request: Request, name: str) -> dict[str, Any]:
    """One model."""
    rows: list[dict[str, Any]] = models(request)["data"]
    found = next((row for row in rows if row["id"] == name), None)
    if found is None:
        service_of(request).menu.find(name)
        raise AssertionError
    return found


@router.post("/v1/chat/completions", response_model=None)
async def complete(request: Request, asked: ChatRequest) -> Response:
    """Answer the last message; with ``stream``, as server-sent events.

    The field ``llmkit`` of the answer (of the last chunk, in a stream) holds citations, notes and the id of the trace.
    """
    service, caller = service_of(request), caller_of(request)
    notes = without_effect(asked)
    question, history = turns(asked.messages)
    order = service.ask(caller, asked.model, question, history, request=request_of(request), quiet=not asked.stream)
    name, created = f"chatcmpl-{request_of(request)}", int(time.time())
    if not asked.stream:
        answered = await outcome(order, request)
        answer = answer_of(answered.state)
        message = {"role": "assistant", "content": answer.text, "refusal": None}
        choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
        head = {"id": name, "object": "chat.completion", "created": created, "model": asked.model}
        told = {"choices": [choice], "usage": usage(answered.state), "llmkit": beside(answered, notes)}
        return JSONResponse({**head, **told})
    head = {"id": name, "object": "chat.completion.chunk", "created": created, "model": asked.model}
    counted = bool(asked.stream_options and asked.stream_options.include_usage)
    pieces = await started(texts(order, held=drafts(service.menu.find(asked.model))), order, request)
    return EventStream(_chunks(pieces, head, notes, request, counted=counted), order)


async def _chunks(
    pieces: AsyncIterator[str | Answered], head: dict[str, Any], notes: list[str], request: Request, *, counted: bool
) -> AsyncIterator[bytes]:
    def chunk(delta: dict[str, Any], end: str | None = None, **more: Any) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": end, "logprobs": None}
        return line({**head, "choices": [choice], **more})

    yield chunk({"role": "assistant", "content": ""})
    try:
        async for piece in pieces:
            if isinstance(piece, str):
                yield chunk({"content": piece})
            else:
                yield chunk({}, "stop", llmkit=beside(piece, notes))
                if counted:
                    yield line({**head, "choices": [], "usage": usage(piece.state)})
                yield b"data: [DONE]\n\n"
    except LlmkitError as error:
        yield line(body(refusal(error), request_of(request), caller_of(request)))
