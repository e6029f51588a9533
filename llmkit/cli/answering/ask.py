"""The command `llmkit ask`."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from llmkit.approval import Caller
from llmkit.cli.common.answers import answer_row
from llmkit.cli.common.approvals import is_attended, run_with_approvals
from llmkit.cli.common.options import (
    as_of_option,
    json_option,
    pipeline_kb_option,
    reader_option,
    reasoning_option,
    set_option,
    where_option,
)
from llmkit.cli.common.question_files import open_input, open_output, read_questions
from llmkit.cli.common.render import print_json
from llmkit.errors import DataError, LlmkitError

if TYPE_CHECKING:
    from llmkit.pipeline import Pipeline


@click.command("ask")
@click.argument("question", required=False)
@pipeline_kb_option
@click.option("--pipeline", default="docs-qa", show_default=True, metavar="NAME|FILE", help="Pipeline that answers.")
@set_option("the pipeline", "steps.retrieve.k=20")
@click.option(
    "--input", "inputs", multiple=True, metavar="NAME=VALUE",
    help="A value that a verifier of the pipeline checks the answer against; JSON, else text; repeatable.",
)  # fmt: skip
@where_option
@as_of_option
@reader_option
@click.option(
    "--questions", "file", metavar="FILE", help="JSONL file of questions, with 'id' and 'question'; - reads stdin."
)
@click.option(
    "--out", default="-", metavar="FILE", help="JSONL file for the answers to --questions; - writes to stdout."
)
@reasoning_option
@json_option
def command(
    question: str | None,
    kb: str | None,
    pipeline: str,
    overrides: tuple[str, ...],
    inputs: tuple[str, ...],
    where: str | None,
    as_of: str | None,
    reader: str | None,
    file: str | None,
    out: str,
    reasoning: bool,
    as_json: bool,
) -> None:
    """Answer one QUESTION, or a file of questions with --questions."""
    if question is None and file is None:
        raise click.UsageError("give a QUESTION, or a file of questions with --questions")
    if question is not None and file is not None:
        raise click.UsageError(f"both a QUESTION and --questions {file} were given: leave one of them out")
    if file is None and out != "-":
        raise click.UsageError("--out is for the answers to --questions; redirect stdout for one QUESTION")
    from llmkit.pipeline import load_pipeline

    values = _parse_inputs(inputs)
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
    if file is not None:
        _answer_file(loaded, file, out, values)
    elif as_json:
        started = time.perf_counter()
        state = loaded.run(question or "", inputs=values)
        row = answer_row(state, "1", time.perf_counter() - started)
        print_json({**row, "records": [asdict(record) for record in state.records]})
    else:
        caller = Caller(attended=is_attended())
        events = loaded.stream(question or "", inputs=values, caller=caller)
        run_with_approvals(events, loaded.stream_decided, reasoning=reasoning)


def _answer_file(pipeline: Pipeline, file: str, out: str, inputs: dict[str, Any]) -> None:
    """Answer a file of questions. Each row is written as soon as its answer is complete."""
    answered = failed = 0
    with open_input(file) as source, open_output(out) as target:
        for item in read_questions(source, file):
            started = time.perf_counter()
            if isinstance(item, DataError):
                failed += 1
                click.echo(f"llmkit: {item}", err=True)
                continue
            name, question = item
            try:
                row = answer_row(pipeline.run(question, inputs=inputs), name, time.perf_counter() - started)
                answered += 1
            except LlmkitError as error:
                failed += 1
                row = {"id": name, "question": question, "error": str(error)}
                click.echo(f"llmkit: question {name}: {error}", err=True)
            target.write(json.dumps(row, ensure_ascii=False) + "\n")
            target.flush()
    click.echo(f"{answered} answered, {failed} failed", err=True)
    if not answered:
        sys.exit(1)


def _parse_inputs(assignments: tuple[str, ...]) -> dict[str, Any]:
    """Parse ``NAME=VALUE`` texts. A value that is JSON is read as JSON, any other is a text."""
    values: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals or not name:
            raise click.UsageError(f'--input {assignment}: expected NAME=VALUE, as in \'concepts=["dog", "park"]\'')
        try:
            values[name] = json.loads(value)
        except ValueError:
            values[name] = value
    return values
