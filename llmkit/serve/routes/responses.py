"""``/v1/responses``: the newer of OpenAI's two interfaces, without what a pipeline cannot do (tools, kept state)."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from llmkit.errors import LlmkitError
from llmkit.serve.errors import body, refusal
from llmkit.serve.routes.dependencies import caller_of, request_of, service_of, started
from llmkit.serve.routes.request_schemas import ChatMessage, ResponseRequest, turns, without_effect
from llmkit.serve.routes.response_format import answer_of, beside, texts
from llmkit.serve.routes.sse import EventStream, line, outcome
from llmkit.serve.runtime.pipeline_registry import drafts
from llmkit.serve.runtime.service import Answered

router = APIRouter(tags=["OpenAI"])
Row = dict[str, Any]


@router.post("/v1/responses", response_model=None)
async def respond(request: Request, asked: ResponseRequest) -> Response:
    """Answer the input; nothing of it is kept for a later ``previous_response_id``."""
    service, caller, name = service_of(request), caller_of(request), request_of(request)
    notes = without_effect(asked)
    given = [ChatMessage(role="user", content=asked.input)] if isinstance(asked.input, str) else asked.input
    if asked.instructions:
        given = [ChatMessage(role="system", content=asked.instructions), *given]
    question, history = turns(given)
    order = service.ask(caller, asked.model, question, history, request=name, quiet=not asked.stream)
    whole = _Whole(name, asked.model, asked.instructions)
    if not asked.stream:
        answered = await outcome(order, request)
        return JSONResponse(whole.done(answered, notes))
    pieces = await started(texts(order, held=drafts(service.menu.find(asked.model))), order, request)
    return EventStream(_events(pieces, whole, notes, request), order)


class _Whole:
    """The object of a response, at each time of its life."""

    def __init__(self, request: str, model: str, instructions: str | None) -> None:
        self.id, self.item = f"resp_{request}", f"msg_{request}"
        self._model, self._instructions = model, instructions
        self._created = int(time.time())

    def row(self, status: str, output: list[Row], **more: Any) -> Row:
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
        return {"id": self.item, "type": "message", "role": "assistant", "status": status, "content": content}

    def done(self, answered: Answered, notes: list[str]) -> Row:
        used = answered.state.usage
        counted = {
            "input_tokens": used.input_tokens,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": used.output_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": used.input_tokens + used.output_tokens,
        }
        message = self.message("completed", [part(answer_of(answered.state).text)])
        return self.row("completed", [message], usage=counted, llmkit=beside(answered, notes))


def part(text: str) -> Row:
    """The content of a message. Citations stand under ``llmkit``: OpenAI's annotations know no place in a text."""
    return {"type": "output_text", "text": text, "annotations": []}


async def _events(
    pieces: AsyncIterator[str | Answered], whole: _Whole, notes: list[str], request: Request
) -> AsyncIterator[bytes]:
    numbers = iter(range(1 << 30))
    at = {"item_id": whole.item, "output_index": 0, "content_index": 0}

    def tell(kind: str, **values: Any) -> bytes:
        return line({"type": kind, "sequence_number": next(numbers), **values}, event=kind)

    def begin() -> Iterator[bytes]:
        yield tell("response.created", response=whole.row("in_progress", []))
        yield tell("response.in_progress", response=whole.row("in_progress", []))
        yield tell("response.output_item.added", output_index=0, item=whole.message("in_progress", []))
        yield tell("response.content_part.added", **at, part=part(""))

    for piece in begin():
        yield piece
    try:
        said = ""
        async for one in pieces:
            if isinstance(one, str):
                said += one
                yield tell("response.output_text.delta", **at, delta=one, logprobs=[])
                continue
            done = whole.done(one, notes)
            done["output"][0]["content"] = [part(said)]
            yield tell("response.output_text.done", **at, text=said, logprobs=[])
            yield tell("response.content_part.done", **at, part=part(said))
            yield tell("response.output_item.done", output_index=0, item=done["output"][0])
            yield tell("response.completed", response=done)
    except LlmkitError as error:
        said_of = body(refusal(error), request_of(request), caller_of(request))["error"]
        problem = {"code": said_of["code"] or "server_error", "message": said_of["message"]}
        yield tell("response.failed", response=whole.row("failed", [], error=problem))
