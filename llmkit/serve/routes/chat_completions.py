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
from llmkit.serve.routes.response_format import answer_pieces, extension_fields, final_answer, token_usage
from llmkit.serve.routes.sse import EventStream, format_event, wait_for_first, wait_for_result
from llmkit.serve.runtime.pipeline_registry import revises_answer
from llmkit.serve.runtime.service import RunResult

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
        result = await wait_for_result(job, request)
        message = {"role": "assistant", "content": final_answer(result.state).text, "refusal": None}
        choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
        return Utf8JsonResponse(
            {
                **head,
                "object": "chat.completion",
                "choices": [choice],
                "usage": token_usage(result.state),
                "llmkit": extension_fields(result, notes),
            }
        )
    include_usage = bool(body.stream_options and body.stream_options.include_usage)
    withhold = revises_answer(service.registry.get(body.model))
    pieces = await wait_for_first(answer_pieces(job, withhold=withhold), job, request)
    head["object"] = "chat.completion.chunk"
    return EventStream(_chunks(pieces, head, notes, request, include_usage=include_usage), job)


async def _chunks(
    pieces: AsyncIterator[str | RunResult],
    head: dict[str, Any],
    notes: list[str],
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
            else:
                yield chunk({}, "stop", llmkit=extension_fields(piece, notes))
                if include_usage:
                    yield format_event({**head, "choices": [], "usage": token_usage(piece.state)})
                yield b"data: [DONE]\n\n"
    except LlmkitError as error:
        yield format_event(error_body(to_http_error(error), request_id_of(request), caller_of(request)))
