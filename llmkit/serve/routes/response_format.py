"""An answer as JSON: what OpenAI's forms have no field for stands beside them under ``llmkit``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from llmkit.pipeline.citation_json import citation_to_json
from llmkit.serve.runtime.jobs import Order
from llmkit.serve.runtime.service import Answered
from llmkit.types import Answer, Event, State

Row = dict[str, Any]


def answer_of(state: State) -> Answer:
    """The answer of a run. One that only retrieves answers with its passages."""
    if state.answer is not None:
        return state.answer
    if not state.hits:
        return Answer("", abstained=True)
    return Answer("\n\n".join(f"[{n}] {hit.chunk.text}" for n, hit in enumerate(state.hits, 1)))


def beside(answered: Answered, notes: Sequence[str] = ()) -> Row:
    """The field ``llmkit`` of an answer."""
    answer = answer_of(answered.state)
    told = [note for record in answered.state.records for note in record.detail.get("notes", ())]
    return {
        "trace": answered.trace,
        "citations": [citation_to_json(one) for one in answer.citations],
        "abstained": answer.abstained,
        "unsupported": list(answer.unsupported),
        "notes": [*notes, *told],
    }


def usage(state: State) -> Row:
    """Tokens as OpenAI counts them."""
    used = state.usage
    return {
        "prompt_tokens": used.input_tokens,
        "completion_tokens": used.output_tokens,
        "total_tokens": used.input_tokens + used.output_tokens,
    }


async def texts(order: Order[Answered], *, held: bool) -> AsyncIterator[str | Answered]:
    """The answer in pieces, then what came of the run.

    Args:
        order: the run.
        held: say nothing before the end, since a later step may change what is said before. Where what was said is not
            how the answer begins, nobody could take it back.

    Raises:
        Cancelled: the client has gone.
        Exception: what went wrong in the run.
    """
    said = ""
    async for event in order:
        if event.kind == "token" and event.text and not held:
            said += event.text
            yield event.text
    answered = await order.result()
    text = answer_of(answered.state).text
    rest = text[len(said) :] if text.startswith(said) else "" if text == said.strip() else f"\n\n{text}"
    if rest:
        yield rest
    yield answered


def event_row(event: Event) -> Row:
    """An event of a run."""
    return {"kind": event.kind, "step": event.step, "text": event.text}
