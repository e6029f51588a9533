"""``/v1/models`` and ``/v1/chat/completions``: every pipeline is a model."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from llmkit.errors import LlmkitError
from llmkit.serve.errors import error_body, to_http_error
from llmkit.serve.routes.dependencies import caller_of, request_id_of, service_of
from llmkit.serve.routes.json_response import Utf8JsonResponse
from llmkit.serve.routes.request_schemas import ChatRequest, check_parameters, split_conversation
from llmkit.serve.routes.response_format import (
    Completion,
    RetryNotice,
    answer_pieces,
    is_content,
    token_usage,
    wait_for_completion,
)
from llmkit.serve.routes.sse import EventStream, format_event, wait_for_first
from llmkit.serve.runtime.pipeline_registry import revises_answer

router = APIRouter(tags=["OpenAI"])
_CREATED = int(time.time())


@router.get("/v1/models")
def models(request: Request) -> dict[str, Any]:
    """List the pipelines, the default first, and the encoder of the knowledge base."""
    service = service_of(request)
    rows = [
        {"id": name, "object": "model", "created": _CREATED, "owned_by": "llmkit", "description": pipeline.description}
        for name, pipeline in service.registry.pipelines.items()
    ]
    if service.knowledge.exists:
        with service.knowledge.view(caller_of(request).reader) as kb:
            description = f"encoder of the knowledge base: {kb.identity}"
        rows.append(
            {"id": "encoder", "object": "model", "created": _CREATED, "owned_by": "llmkit", "description": description}
        )
    return {"object": "list", "data": rows}


@router.get("/v1/models/{name}")
def model(request: Request, name: str) -> dict[str, Any]:
    """Describe one model."""
    rows: list[dict[str, Any]] = models(request)["data"]
    row = next((row for row in rows if row["id"] == name), None)
    if row is None:
        service_of(request).registry.get(name)
        raise AssertionError
    return row


@router.post("/v1/chat/completions", response_model=None)
async def complete(request: Request, body: ChatRequest) -> Response:
    """Answer the last message; with ``stream``, as server-sent events.

    The field ``llmkit`` of the answer holds the citations, notes and the id of the trace. In a stream, the last chunk
    with a choice has it.
    """
    service, caller, request_id = service_of(request), caller_of(request), request_id_of(request)
    notes = check_parameters(body)
    question, history = split_conversation(body.messages)
    job = service.start_answer(
        caller, body.model, question, history, request_id=request_id, discard_events=not body.stream
    )
    head = {"id": f"chatcmpl-{request_id}", "created": int(time.time()), "model": body.model}
    if not body.stream:
        done = await wait_for_completion(job, request, notes)
        message = {"role": "assistant", "content": done.text, "refusal": done.refusal}
        choice = {"index": 0, "message": message, "finish_reason": done.finish_reason, "logprobs": None}
        return Utf8JsonResponse(
            {
                **head,
                "object": "chat.completion",
                "choices": [choice],
                "usage": token_usage(done.usage),
                "llmkit": done.extension,
            }
        )
    include_usage = bool(body.stream_options and body.stream_options.include_usage)
    withhold = revises_answer(service.registry.get(body.model))
    pieces = await wait_for_first(answer_pieces(job, notes, withhold=withhold), job, request, is_content)
    head["object"] = "chat.completion.chunk"
    return EventStream(_chunks(pieces, head, request, include_usage=include_usage), job)


async def _chunks(
    pieces: AsyncIterator[str | RetryNotice | Completion],
    head: dict[str, Any],
    request: Request,
    *,
    include_usage: bool,
) -> AsyncIterator[bytes]:
    def chunk(delta: dict[str, Any], finish_reason: str | None = None, **more: Any) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": None}
        return format_event({**head, "choices": [choice], **more})

    yield chunk({"role": "assistant", "content": ""})
    try:
        async for piece in pieces:
            if isinstance(piece, str):
                yield chunk({"content": piece})
            elif isinstance(piece, RetryNotice):
                yield chunk({}, llmkit={"notes": [piece.text], "wait": piece.seconds})
            else:
                if piece.refusal is not None:
                    yield chunk({"refusal": piece.refusal})
                yield chunk({}, piece.finish_reason, llmkit=piece.extension)
                if include_usage:
                    yield format_event({**head, "choices": [], "usage": token_usage(piece.usage)})
                yield b"data: [DONE]\n\n"
    except LlmkitError as error:
        yield format_event(error_body(to_http_error(error), request_id_of(request), caller_of(request)))
