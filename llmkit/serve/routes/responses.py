"""``/v1/responses``: OpenAI's newer interface, without tools and without stored responses."""

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
from llmkit.serve.routes.request_schemas import ChatMessage, ResponseRequest, check_parameters, split_conversation
from llmkit.serve.routes.response_format import (
    Completion,
    RetryNotice,
    answer_pieces,
    is_content,
    wait_for_completion,
)
from llmkit.serve.routes.sse import EventStream, format_comment, format_event, wait_for_first
from llmkit.serve.runtime.pipeline_registry import revises_answer
from llmkit.types import Usage

router = APIRouter(tags=["OpenAI"])
Row = dict[str, Any]
_INCOMPLETE_REASONS = {"length": "max_output_tokens", "content_filter": "content_filter"}


@router.post("/v1/responses", response_model=None)
async def respond(request: Request, body: ResponseRequest) -> Response:
    """Answer the input. The response is not stored for a later ``previous_response_id``."""
    service, caller, request_id = service_of(request), caller_of(request), request_id_of(request)
    notes = check_parameters(body)
    messages = [ChatMessage(role="user", content=body.input)] if isinstance(body.input, str) else body.input
    if body.instructions:
        messages = [ChatMessage(role="system", content=body.instructions), *messages]
    question, history = split_conversation(messages)
    job = service.start_answer(
        caller, body.model, question, history, request_id=request_id, discard_events=not body.stream
    )
    template = _ResponseTemplate(request_id, body.model, body.instructions)
    if not body.stream:
        return Utf8JsonResponse(template.finished(await wait_for_completion(job, request, notes)))
    withhold = revises_answer(service.registry.get(body.model))
    pieces = await wait_for_first(answer_pieces(job, notes, withhold=withhold), job, request, is_content)
    return EventStream(_events(pieces, template, request), job)


class _ResponseTemplate:
    """Builds the response object at each stage of a response."""

    def __init__(self, request_id: str, model: str, instructions: str | None) -> None:
        self.id, self.message_id = f"resp_{request_id}", f"msg_{request_id}"
        self._model, self._instructions = model, instructions
        self._created = int(time.time())

    def response(self, status: str, output: list[Row], **more: Any) -> Row:
        """Return the response object with a status and its output items."""
        return {
            "id": self.id,
            "object": "response",
            "created_at": self._created,
            "status": status,
            "model": self._model,
            "instructions": self._instructions,
            "output": output,
            "error": None,
            "incomplete_details": None,
            "metadata": {},
            "parallel_tool_calls": False,
            "temperature": None,
            "tool_choice": "none",
            "tools": [],
            "top_p": None,
            "usage": None,
            **more,
        }

    def message(self, status: str, content: list[Row]) -> Row:
        """Return the output item of the answer."""
        return {
            "id": self.message_id, "type": "message", "role": "assistant", "status": status, "content": content,
        }  # fmt: skip

    def finished(self, done: Completion) -> Row:
        """Return the response object of a finished run, ``completed`` or ``incomplete``."""
        status = "completed" if done.finish_reason == "stop" else "incomplete"
        reason = _INCOMPLETE_REASONS.get(done.finish_reason or "")
        content = _output_text(done.text) if done.refusal is None else _refusal(done.refusal)
        return self.response(
            status,
            [self.message(status, [content])],
            incomplete_details=None if reason is None else {"reason": reason},
            usage=_usage(done.usage),
            llmkit=done.extension,
        )


def _output_text(text: str) -> Row:
    """Return the content of a message. Citations are in the field ``llmkit``; OpenAI's annotations cannot hold them."""
    return {"type": "output_text", "text": text, "annotations": []}


def _refusal(words: str) -> Row:
    """Return the content of a message in which the model refused to answer."""
    return {"type": "refusal", "refusal": words}


def _usage(usage: Usage) -> Row:
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


async def _events(
    pieces: AsyncIterator[str | RetryNotice | Completion], template: _ResponseTemplate, request: Request
) -> AsyncIterator[bytes]:
    numbers = iter(range(1 << 30))
    position = {"item_id": template.message_id, "output_index": 0, "content_index": 0}

    def event(kind: str, **values: Any) -> bytes:
        return format_event({"type": kind, "sequence_number": next(numbers), **values}, event=kind)

    def begin(part: Row) -> list[bytes]:
        item = template.message("in_progress", [])
        return [
            event("response.output_item.added", output_index=0, item=item),
            event("response.content_part.added", **position, part=part),
        ]

    yield event("response.created", response=template.response("in_progress", []))
    yield event("response.in_progress", response=template.response("in_progress", []))
    text, started = "", False
    try:
        async for piece in pieces:
            if isinstance(piece, RetryNotice):
                yield format_comment(piece.text)
                continue
            if not started:
                refused = isinstance(piece, Completion) and piece.refusal is not None
                for opening in begin(_refusal("") if refused else _output_text("")):
                    yield opening
                started = True
            if isinstance(piece, str):
                text += piece
                yield event("response.output_text.delta", **position, delta=piece, logprobs=[])
                continue
            response = template.finished(piece)
            (item,) = response["output"]
            if piece.refusal is None:
                item["content"] = [_output_text(text)]
                yield event("response.output_text.done", **position, text=text, logprobs=[])
            else:
                yield event("response.refusal.delta", **position, delta=piece.refusal)
                yield event("response.refusal.done", **position, refusal=piece.refusal)
            yield event("response.content_part.done", **position, part=item["content"][0])
            yield event("response.output_item.done", output_index=0, item=item)
            yield event(f"response.{response['status']}", response=response)
    except LlmkitError as error:
        details = error_body(to_http_error(error), request_id_of(request), caller_of(request))["error"]
        problem = {"code": details["code"] or "server_error", "message": details["message"]}
        yield event("response.failed", response=template.response("failed", [], error=problem))
