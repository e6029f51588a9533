"""Answers as JSON. The field ``llmkit`` holds what OpenAI's formats have no field for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from llmkit.pipeline.citation_json import citation_to_json
from llmkit.serve.runtime.job_runner import Job
from llmkit.serve.runtime.service import RunResult
from llmkit.types import Answer, Event, State

Row = dict[str, Any]


def final_answer(state: State) -> Answer:
    """Return the answer of a run. The answer of a run that only retrieves is its passages."""
    if state.answer is not None:
        return state.answer
    if not state.hits:
        return Answer("", abstained=True)
    return Answer("\n\n".join(f"[{n}] {hit.chunk.text}" for n, hit in enumerate(state.hits, 1)))


def extension_fields(result: RunResult, notes: Sequence[str] = ()) -> Row:
    """Return the value of the field ``llmkit``: trace, citations, abstention, unsupported sentences and notes."""
    answer = final_answer(result.state)
    of_steps = [note for record in result.state.records for note in record.detail.get("notes", ())]
    return {
        "trace": result.trace,
        "citations": [citation_to_json(citation) for citation in answer.citations],
        "abstained": answer.abstained,
        "unsupported": list(answer.unsupported),
        "notes": [*notes, *of_steps],
    }


def token_usage(state: State) -> Row:
    """Return the tokens of a run in OpenAI's format."""
    usage = state.usage
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


async def answer_pieces(job: Job[RunResult], *, withhold: bool) -> AsyncIterator[str | RunResult]:
    """Yield the answer in pieces of text, then the result of the run.

    Args:
        job: the run.
        withhold: yield no text before the run has ended, because a later step may change the answer and nothing that
            was sent can be taken back.

    Raises:
        Cancelled: the client has disconnected.
        Exception: whatever the run raised.
    """
    sent = ""
    async for event in job:
        if event.kind == "token" and event.text and not withhold:
            sent += event.text
            yield event.text
    result = await job.result()
    text = final_answer(result.state).text
    if text.startswith(sent):
        rest = text[len(sent) :]
    elif text == sent.strip():
        rest = ""
    else:
        rest = f"\n\n{text}"
    if rest:
        yield rest
    yield result


def event_row(event: Event) -> Row:
    """Return an event of a run as a JSON object."""
    return {"kind": event.kind, "step": event.step, "text": event.text}
