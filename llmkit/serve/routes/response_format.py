"""Answers as JSON. The field ``llmkit`` holds what OpenAI's formats have no field for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from llmkit.errors import EmptyReply, LlmkitError, ModelRefusal, StepError
from llmkit.pipeline.citation_json import citation_to_json
from llmkit.replies.reply import Reply
from llmkit.serve.routes.sse import wait_for_result
from llmkit.serve.runtime.job_runner import Job
from llmkit.serve.runtime.service import RunResult
from llmkit.types import Answer, Event, FinishReason, State, Usage

Row = dict[str, Any]
_FINISH_REASONS: dict[FinishReason, str | None] = {
    "stop": "stop",
    "length": "length",
    "content_filter": "content_filter",
    "tool_calls": "stop",  # the pipeline's own calls, which are no part of its answer
    "missing": None,
}
_TERMINAL_HINT = "; Ctrl-C to stop"


@dataclass(frozen=True, slots=True)
class Completion:
    """The end of a run in the terms of OpenAI's formats."""

    text: str
    finish_reason: str | None
    """``stop``, ``length`` or ``content_filter``; None where the model's server did not say how the reply ended."""
    refusal: str | None
    """The words with which the model refused to answer."""
    usage: Usage
    extension: Row
    """The value of the field ``llmkit``."""

    @classmethod
    def of_result(cls, result: RunResult, notes: Sequence[str] = ()) -> Completion:
        """Return the completion of a run that has an answer."""
        answer = final_answer(result.state)
        return cls(
            answer.text,
            _FINISH_REASONS[answer.finish_reason],
            None,
            result.state.usage,
            extension_fields(result, notes),
        )

    @classmethod
    def of_error(cls, error: LlmkitError, notes: Sequence[str] = ()) -> Completion:
        """Return the completion of a run that ended because the model refused, or used up its tokens without a text.

        OpenAI's formats have a place for these two; they are answers of the model, and not failures.

        Raises:
            LlmkitError: it is any other error.
        """
        cause = error.__cause__ if isinstance(error, StepError) else error
        reply = getattr(cause, "reply", None)
        if not isinstance(reply, Reply):
            raise error
        withheld = isinstance(cause, EmptyReply) and reply.finish_reason in ("length", "content_filter")
        if not isinstance(cause, ModelRefusal) and not withheld:
            raise error
        extension = {
            "trace": None,
            "citations": [],
            "abstained": False,
            "unsupported": [],
            "finish_reason": reply.finish_reason,
            "notes": [*notes, str(error)],
        }
        return cls("", _FINISH_REASONS[reply.finish_reason], reply.refusal or None, reply.usage, extension)


@dataclass(frozen=True, slots=True)
class RetryNotice:
    """A call of a model that failed and is tried again after a wait."""

    text: str
    """What failed, and when the next attempt is."""
    seconds: float
    """Length of the wait."""

    @classmethod
    def of_event(cls, event: Event) -> RetryNotice | None:
        """Return the notice that an event stands for; None where it is another event."""
        seconds = event.data.get("wait")
        if event.kind != "note" or seconds is None:
            return None
        return cls(event.text.replace(_TERMINAL_HINT, ""), float(seconds))


def final_answer(state: State) -> Answer:
    """Return the answer of a run. The answer of a run that only retrieves is its passages."""
    if state.answer is not None:
        return state.answer
    if not state.hits:
        return Answer("", abstained=True)
    return Answer("\n\n".join(f"[{n}] {hit.chunk.text}" for n, hit in enumerate(state.hits, 1)))


def extension_fields(result: RunResult, notes: Sequence[str] = ()) -> Row:
    """Return the value of the field ``llmkit``: trace, citations, how the reply ended, and notes."""
    answer = final_answer(result.state)
    of_steps = [note for record in result.state.records for note in record.detail.get("notes", ())]
    return {
        "trace": result.trace,
        "citations": [citation_to_json(citation) for citation in answer.citations],
        "abstained": answer.abstained,
        "unsupported": list(answer.unsupported),
        "finish_reason": answer.finish_reason,
        "notes": [*notes, *of_steps],
    }


def token_usage(usage: Usage) -> Row:
    """Return tokens in the format of chat completions."""
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


async def wait_for_completion(job: Job[RunResult], request: Request, notes: Sequence[str]) -> Completion:
    """Wait for the end of a run; stop the run where the client leaves before.

    Raises:
        Cancelled: the client has disconnected.
        LlmkitError: the run failed.
    """
    try:
        return Completion.of_result(await wait_for_result(job, request), notes)
    except LlmkitError as error:
        return Completion.of_error(error, notes)


async def answer_pieces(
    job: Job[RunResult], notes: Sequence[str], *, withhold: bool
) -> AsyncIterator[str | RetryNotice | Completion]:
    """Yield the answer in pieces of text, and notices of retries meanwhile, then the completion.

    Args:
        job: the run.
        notes: notes of the request, for the completion.
        withhold: yield no text before the run has ended, because a later step may change the answer and nothing that
            was sent can be taken back.

    Raises:
        Cancelled: the client has disconnected.
        LlmkitError: the run failed.
    """
    sent = ""
    async for event in job:
        if event.kind == "token" and event.text and not withhold:
            sent += event.text
            yield event.text
        elif notice := RetryNotice.of_event(event):
            yield notice
    try:
        completion = Completion.of_result(await job.result(), notes)
    except LlmkitError as error:
        completion = Completion.of_error(error, notes)
    text = completion.text
    if text.startswith(sent):
        rest = text[len(sent) :]
    elif text == sent.strip():
        rest = ""
    else:
        rest = f"\n\n{text}"
    if rest:
        yield rest
    yield completion


def is_content(piece: object) -> bool:
    """Return whether a response may begin with a piece; a run that is tried again may still fail with a status."""
    return not isinstance(piece, RetryNotice)


def event_row(event: Event) -> Row:
    """Return an event of a run as a JSON object; a note about a retry has the seconds of the wait as ``wait``."""
    if notice := RetryNotice.of_event(event):
        return {"kind": event.kind, "step": event.step, "text": notice.text, "wait": notice.seconds}
    return {"kind": event.kind, "step": event.step, "text": event.text}
