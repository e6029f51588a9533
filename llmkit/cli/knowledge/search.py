"""The command `llmkit search`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from itertools import islice
from typing import Any

import click

from llmkit.cli.common.options import as_of_option, json_option, kb_option, reader_option, where_option
from llmkit.cli.common.question_files import Question, open_input, open_output, read_questions
from llmkit.cli.common.render import duration, excerpt, location, plural, print_json, print_notes
from llmkit.errors import DataError
from llmkit.types import Hit

_BATCH = 256


@click.command("search")
@click.argument("query", required=False)
@kb_option
@click.option("-k", type=click.IntRange(1, 10_000), default=10, show_default=True, help="Number of passages.")
@click.option(
    "--mode", default="hybrid", show_default=True, metavar="RETRIEVER",
    help="Retriever: dense, bm25, hybrid, mmr, or YAML as in '{type: hybrid, fusion: rrf}'.",
)  # fmt: skip
@where_option
@as_of_option
@reader_option
@click.option("--queries", "file", metavar="FILE", help="JSONL file of queries, with 'id' and 'text'; - reads stdin.")
@click.option("--out", default="-", metavar="FILE", help="JSONL file for the hits of --queries; - writes to stdout.")
@json_option
def command(
    query: str | None,
    kb: str,
    k: int,
    mode: str,
    where: str | None,
    as_of: str | None,
    reader: str | None,
    file: str | None,
    out: str,
    as_json: bool,
) -> None:
    """Search for one QUERY, or for a file of queries with --queries."""
    if query is None and file is None:
        raise click.UsageError("give a QUERY, or a file of queries with --queries")
    if query is not None and file is not None:
        raise click.UsageError(f"both a QUERY and --queries {file} were given: leave one of them out")
    if file is None and out != "-":
        raise click.UsageError("--out is for the hits of --queries; redirect stdout for one QUERY")
    if file is None and not (query or "").strip():
        raise DataError("the QUERY is empty")
    from llmkit import config
    from llmkit.knowledge.filters.where import parse
    from llmkit.knowledge.knowledge_base import KnowledgeBase
    from llmkit.retrieval.vocabulary_coverage import unread

    spec = config.parse(f"mode: {mode}", "--mode").values["mode"]
    retriever: Any = config.build_part("retriever", spec, "--mode")
    passing = None if where is None else parse(where)
    with KnowledgeBase.open(kb, as_of=as_of, reader=reader) as base:
        if file is not None:
            _search_file(base, retriever, k, passing, file, out)
            print_notes(base.take_notes())
            return
        started = time.perf_counter()
        hits = retriever.retrieve(base, [query or ""], k, passing)[0]
        seconds = time.perf_counter() - started
        best, mixed = hits[0].chunk.text if hits else "", retriever.type == "hybrid"
        coverage_note = unread(base.encoder, query or "", best, mixed=mixed) if retriever.type != "bm25" else ""
        messages = [*base.take_notes(), *([coverage_note] if coverage_note else [])]
    if as_json:
        print_json(
            {"query": query, "hits": [_row(hit) for hit in hits], "notes": messages, "seconds": round(seconds, 4)}
        )
        return
    print_notes(messages)
    for n, hit in enumerate(hits, 1):
        click.echo(f"{n:>3}. {hit.score:.3f}  {location(hit.chunk)}\n     {excerpt(hit.chunk.text)}")
    if not hits:
        click.echo("nothing found")
    click.echo(f"{plural(len(hits), 'hit')} in {duration(seconds)}", err=True)


def _search_file(base: Any, retriever: Any, k: int, where: Any, file: str, out: str) -> None:
    """Search for every query of a file, in batches."""
    done = failed = 0
    started = time.perf_counter()
    with open_input(file) as source, open_output(out) as target:
        rows = read_questions(source, file)
        while batch := list(islice(rows, _BATCH)):
            good = [row for row in batch if not isinstance(row, DataError)]
            for row in batch:
                if isinstance(row, DataError):
                    click.echo(f"llmkit: {row}", err=True)
                    failed += 1
            for name, hits in _search_batch(base, retriever, k, where, good):
                kept = [{key: value for key, value in _row(hit).items() if key in _FILE_KEYS} for hit in hits]
                target.write(json.dumps({"id": name, "hits": kept}, ensure_ascii=False) + "\n")
                done += 1
    click.echo(
        f"{plural(done, 'query', 'queries')} in {duration(time.perf_counter() - started)}, {plural(failed, 'bad row')}",
        err=True,
    )
    if not done:
        sys.exit(1)


def _search_batch(
    base: Any, retriever: Any, k: int, where: Any, rows: list[Question]
) -> Iterator[tuple[str, list[Hit]]]:
    if rows:
        found = retriever.retrieve(base, [text for _, text in rows], k, where)
        yield from zip([name for name, _ in rows], found, strict=True)


_FILE_KEYS = ("document", "chunk", "score", "start", "end")


def _row(hit: Hit) -> dict[str, Any]:
    chunk = hit.chunk
    return {
        "document": chunk.document,
        "chunk": chunk.id,
        "score": hit.score,
        "start": chunk.start,
        "end": chunk.end,
        "scores": dict(hit.scores),
        "title": chunk.title,
        "heading": list(chunk.heading),
        "page": chunk.page,
        "part": chunk.part,
        "text": chunk.text,
    }
