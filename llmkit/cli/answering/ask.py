"""The command `llmkit ask`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from llmkit.cli.common.questions import questions, reading, writing
from llmkit.cli.common.render import (
    answer_row,
    as_of_option,
    as_option,
    asked_kb_option,
    duration,
    excerpt,
    harmless,
    json_option,
    location,
    print_json,
    where_option,
)
from llmkit.errors import DataError, LlmkitError

if TYPE_CHECKING:
    from llmkit.pipeline import Pipeline
    from llmkit.types import Event, State


@click.command("ask")
@click.argument("question", required=False)
@asked_kb_option
@click.option("--pipeline", default="docs-qa", show_default=True, metavar="NAME|FILE", help="Which pipeline answers.")
@click.option("--set", "overrides", multiple=True, metavar="PATH=VALUE", help="As in steps.retrieve.k=20; repeatable.")
@click.option("--input", "given", multiple=True, metavar="NAME=VALUE", help="What verifiers check by; JSON or text.")
@where_option
@as_of_option
@as_option
@click.option("--questions", "file", metavar="FILE", help="JSONL with 'id' and 'question'; - for stdin.")
@click.option("--out", default="-", metavar="FILE", help="Where the answers to --questions go, as JSONL.")
@json_option
def command(
    question: str | None,
    kb: str | None,
    pipeline: str,
    overrides: tuple[str, ...],
    given: tuple[str, ...],
    where: str | None,
    as_of: str | None,
    reader: str | None,
    file: str | None,
    out: str,
    as_json: bool,
) -> None:
    """Ask one question, or a file of them with --questions."""
    if (question is None) == (file is None):
        raise click.UsageError("give a QUESTION, or a file of them with --questions")
    from llmkit.pipeline import load_pipeline

    loaded = load_pipeline(pipeline, overrides, knowledge=kb)
    if as_of is not None or reader is not None:
        from llmkit.knowledge.knowledge_base import KnowledgeBase

        loaded = loaded.with_knowledge(
            KnowledgeBase.open(Path(loaded.knowledge).expanduser(), as_of=as_of, reader=reader)
        )
    if where is not None:
        loaded = loaded.with_filter(where)
    if loaded.reads_knowledge:
        loaded.open_knowledge()
    inputs = _inputs(given)
    if file is not None:
        _many(loaded, file, out, inputs)
    elif as_json:
        started = time.perf_counter()
        state = loaded.run(question or "", inputs=inputs)
        row = answer_row(state, "1", time.perf_counter() - started)
        print_json({**row, "records": [_record(record) for record in state.records]})
    else:
        from llmkit.approval import Caller
        from llmkit.cli.common.approvals import attended, listen_and_decide

        caller = Caller(attended=attended())
        listen_and_decide(loaded.stream(question or "", inputs=inputs, caller=caller), loaded.stream_decided)


def listen(stream: Iterator[Event]) -> None:
    """Show an answer while it is made, then what it rests on."""
    started = time.perf_counter()
    first = state = None
    said = ""
    try:
        for event in stream:
            if event.kind == "token":
                first = first or time.perf_counter() - started
                said += event.text
                click.echo(harmless(event.text), nl=False)
            elif event.data.get("tool"):
                click.echo(f"  {excerpt(event.text)}", err=True)
            elif event.kind == "note":
                click.echo(f"{chr(10) if said else ''}note: {harmless(event.text)}", err=True)
            elif event.kind == "done":
                state = event.data["state"]
    finally:
        stream.close()  # type: ignore[attr-defined]
        if said:
            click.echo()
    if state is not None:
        show_answer(state, said)
        times = ", ".join(f"{record.step.partition('] ')[2]} {duration(record.seconds)}" for record in state.records)
        took = time.perf_counter() - started
        before = max(0.0, sum(record.seconds for record in state.records) - took)  # of a run that waited for a decision
        words = f", first words after {duration(before + first)}" if first is not None else ""
        click.echo(f"\n{duration(before + took)} in all: {times}{words}", err=True)


def show_answer(state: State, said: str) -> None:
    """What the answer rests on; the answer itself where it is not what was `said` while it was made."""
    answer = state.answer
    if answer is None:
        for n, hit in enumerate(state.hits, 1):
            click.echo(f"[{n}] {location(hit.chunk)}\n    {excerpt(hit.chunk.text)}")
    elif answer.abstained:
        click.echo(harmless(answer.text))
        if state.hits:
            click.echo("\nNearest passages:")
        for n, hit in enumerate(state.hits[:3], 1):
            click.echo(f"  ({n}) {location(hit.chunk)}: {excerpt(hit.chunk.text)}")
    else:
        if " ".join(said.split()) != " ".join(answer.text.split()):
            refined = any("rounds" in record.detail for record in state.records)
            head = f"\n{'Refined' if refined else 'Checked'} answer:\n" if said.strip() else ""
            click.echo(f"{head}{harmless(answer.text)}")
        click.echo()
        chunks = {hit.chunk.id: hit.chunk for hit in state.hits}
        for citation in answer.citations:
            mark = f"  ({citation.doubt})" if citation.doubt else ""
            chunk = chunks.get(citation.chunk)
            place = location(chunk) if chunk else "no such passage"
            click.echo(f"[{citation.n}] {place}, characters {citation.start}-{citation.end}{mark}")
            if citation.quote:
                click.echo(f'    "{excerpt(citation.quote)}"')
        for sentence in answer.unsupported:
            click.echo(f"not supported by the passages: {excerpt(sentence)}")
    for record in state.records:
        if "rounds" in record.detail:
            detail = record.detail
            kept = f"round {detail['kept']} of {len(detail['rounds']) - 1} is kept ({detail['kept_because']})"
            click.echo(f"{record.step.partition('] ')[2]}: {kept}; it stopped on: {detail['stopped']}", err=True)


def _many(pipeline: Pipeline, file: str, out: str, inputs: dict[str, Any]) -> None:
    """Answer a file of questions; every row is written as soon as it is there."""
    done = failed = 0
    with reading(file) as source, writing(out) as target:
        for item in questions(source, file):
            started = time.perf_counter()
            if isinstance(item, DataError):
                failed += 1
                click.echo(f"llmkit: {item}", err=True)
                continue
            name, question = item
            try:
                row = answer_row(pipeline.run(question, inputs=inputs), name, time.perf_counter() - started)
                done += 1
            except LlmkitError as error:
                failed += 1
                row = {"id": name, "question": question, "error": str(error)}
                click.echo(f"llmkit: question {name}: {error}", err=True)
            target.write(json.dumps(row, ensure_ascii=False) + "\n")
            target.flush()
    click.echo(f"{done} answered, {failed} failed", err=True)
    if not done:
        sys.exit(1)


def _inputs(given: tuple[str, ...]) -> dict[str, Any]:
    """``NAME=VALUE`` each; a value that is JSON is read as such, any other is a text."""
    found: dict[str, Any] = {}
    for item in given:
        name, equals, value = item.partition("=")
        if not equals or not name:
            raise click.UsageError(f'--input {item}: expected NAME=VALUE, as in \'concepts=["dog", "park"]\'')
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def _record(record: object) -> dict[str, object]:
    from dataclasses import asdict

    return asdict(record)  # type: ignore[call-overload, no-any-return]
