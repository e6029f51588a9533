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
from llmkit.serve.routes.response_format import answer_pieces, extension_fields, final_answer
from llmkit.serve.routes.sse import EventStream, format_event, wait_for_first, wait_for_result
from llmkit.serve.runtime.pipeline_registry import revises_answer
from llmkit.serve.runtime.service import RunResult
from llmkit.types import State

router = APIRouter(tags=["OpenAI"])
Row = dict[str, Any]


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
        result = await wait_for_result(job, request)
        return Utf8JsonResponse(template.completed(result, notes))
    withhold = revises_answer(service.registry.get(body.model))
    pieces = await wait_for_first(answer_pieces(job, withhold=withhold), job, request)
    return EventStream(_events(pieces, template, notes, request), job)


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

    def completed(self, result: RunResult, notes: list[str]) -> Row:
        """Return the response object of a finished run."""
        message = self.message("completed", [_output_text(final_answer(result.state).text)])
        return self.response("completed", [message], usage=_usage(result.state), llmkit=extension_fields(result, notes))


def _output_text(text: str) -> Row:
    """Return the content of a message. Citations are in the field ``llmkit``; OpenAI's annotations cannot hold them."""
    return {"type": "output_text", "text": text, "annotations": []}


def _usage(state: State) -> Row:
    usage = state.usage
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


async def _events(
    pieces: AsyncIterator[str | RunResult], template: _ResponseTemplate, notes: list[str], request: Request
) -> AsyncIterator[bytes]:
    numbers = iter(range(1 << 30))
    position = {"item_id": template.message_id, "output_index": 0, "content_index": 0}

    def event(kind: str, **values: Any) -> bytes:
        return format_event({"type": kind, "sequence_number": next(numbers), **values}, event=kind)

    yield event("response.created", response=template.response("in_progress", []))
    yield event("response.in_progress", response=template.response("in_progress", []))
    yield event("response.output_item.added", output_index=0, item=template.message("in_progress", []))
    yield event("response.content_part.added", **position, part=_output_text(""))
    try:
        text = ""
        async for piece in pieces:
            if isinstance(piece, str):
                text += piece
                yield event("response.output_text.delta", **position, delta=piece, logprobs=[])
                continue
            response = template.completed(piece, notes)
            response["output"][0]["content"] = [_output_text(text)]
            yield event("response.output_text.done", **position, text=text, logprobs=[])
            yield event("response.content_part.done", **position, part=_output_text(text))
            yield event("response.output_item.done", output_index=0, item=response["output"][0])
            yield event("response.completed", response=response)
    except LlmkitError as error:
        details = error_body(to_http_error(error), request_id_of(request), caller_of(request))["error"]
        problem = {"code": details["code"] or "server_error", "message": details["message"]}
        yield event("response.failed", response=template.response("failed", [], error=problem))
