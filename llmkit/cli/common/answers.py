"""Answers of a pipeline: as JSON, and as text for the terminal."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from typing import Any

import click

from llmkit.cli.common.render import duration, excerpt, location, strip_controls
from llmkit.pipeline.citation_json import citation_to_json
from llmkit.types import Answer, Event, State

_NEAREST = 3


def answer_row(state: State, name: str, seconds: float) -> dict[str, Any]:
    """The JSON form of an answer that docs/cli.md documents."""
    answer = state.answer
    return {
        "id": name,
        "question": state.question,
        "answer": answer.text if answer else "",
        "citations": [citation_to_json(citation) for citation in answer.citations] if answer else [],
        "abstained": answer.abstained if answer else True,
        "unsupported": list(answer.unsupported) if answer else [],
        "hits": [
            {
                "document": hit.chunk.document,
                "chunk": hit.chunk.id,
                "score": hit.score,
                "start": hit.chunk.start,
                "end": hit.chunk.end,
            }
            for hit in state.hits
        ],
        "notes": [note for record in state.records for note in record.detail.get("notes", ())],
        "seconds": round(seconds, 4),
    }


def print_events(events: Iterator[Event], *, reasoning: bool = False) -> None:
    """Print an answer while it is generated, then its citations and times.

    Tokens and the answer go to stdout; tool calls, notes, times and the model's reasoning go to stderr. The reasoning
    is printed, dimmed, only with `reasoning`.
    """
    started = time.perf_counter()
    first_token = state = None
    streamed = ""
    reasoned = False
    try:
        for event in events:
            if event.kind == "reasoning":
                if reasoning:
                    click.secho(strip_controls(event.text), dim=True, nl=False, err=True)
                    reasoned = True
            elif event.kind == "token":
                if reasoned:
                    click.echo(err=True)
                    reasoned = False
                first_token = first_token or time.perf_counter() - started
                streamed += event.text
                click.echo(strip_controls(event.text), nl=False)
            elif event.data.get("tool"):
                click.echo(f"  {excerpt(event.text)}", err=True)
            elif event.kind == "note":
                click.echo(f"{chr(10) if streamed else ''}note: {strip_controls(event.text)}", err=True)
            elif event.kind == "done":
                state = event.data["state"]
    finally:
        if isinstance(events, Generator):
            events.close()
        if streamed:
            click.echo()
    if state is not None:
        print_state(state, streamed)
        _print_times(state, time.perf_counter() - started, first_token)


def print_state(state: State, streamed: str = "") -> None:
    """Print the answer and its citations, or the hits of a pipeline without an answer.

    `streamed` is the text that was printed already; an answer that equals it is not printed again.
    """
    if state.answer is None:
        for n, hit in enumerate(state.hits, 1):
            click.echo(f"[{n}] {location(hit.chunk)}\n    {excerpt(hit.chunk.text)}")
        if not state.hits:
            click.echo("nothing found")
    elif state.answer.abstained:
        click.echo(strip_controls(state.answer.text))
        if state.hits:
            click.echo("\nNearest passages:")
        for n, hit in enumerate(state.hits[:_NEAREST], 1):
            click.echo(f"  ({n}) {location(hit.chunk)}: {excerpt(hit.chunk.text)}")
    else:
        _print_answer(state, state.answer, streamed)
    for record in state.records:
        if "rounds" in record.detail:
            detail = record.detail
            kept = f"round {detail['kept']} of {len(detail['rounds']) - 1} is kept ({detail['kept_because']})"
            click.echo(f"{_step_name(record.step)}: {kept}; it stopped on: {detail['stopped']}", err=True)


def _print_answer(state: State, answer: Answer, streamed: str) -> None:
    if " ".join(streamed.split()) != " ".join(answer.text.split()):
        refined = any("rounds" in record.detail for record in state.records)
        head = f"\n{'Refined' if refined else 'Checked'} answer:\n" if streamed.strip() else ""
        click.echo(f"{head}{strip_controls(answer.text)}")
    if answer.citations or answer.unsupported:
        click.echo()
    chunks = {hit.chunk.id: hit.chunk for hit in state.hits}
    for citation in answer.citations:
        doubt = f"  ({citation.doubt})" if citation.doubt else ""
        chunk = chunks.get(citation.chunk)
        place = location(chunk) if chunk else "no such passage"
        click.echo(f"[{citation.n}] {place}, characters {citation.start}-{citation.end}{doubt}")
        if citation.quote:
            click.echo(f'    "{excerpt(citation.quote)}"')
    for sentence in answer.unsupported:
        click.echo(f"not supported by the passages: {excerpt(sentence)}")


def _print_times(state: State, elapsed: float, first_token: float | None) -> None:
    steps = ", ".join(f"{_step_name(record.step)} {duration(record.seconds)}" for record in state.records)
    # A run that waited for a decision streams its rest alone: the steps before it count here.
    before = max(0.0, sum(record.seconds for record in state.records) - elapsed)
    first = f", first token after {duration(before + first_token)}" if first_token is not None else ""
    click.echo(f"\n{duration(before + elapsed)} in all: {steps}{first}", err=True)


def _step_name(step: str) -> str:
    """``retrieve`` of ``steps[0] retrieve``."""
    return step.partition("] ")[2]
