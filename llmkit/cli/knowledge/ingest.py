"""The command `llmkit ingest`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from llmkit.cli.common.open_or_create import open_or_create
from llmkit.cli.common.options import json_option
from llmkit.cli.common.progress import ProgressBar
from llmkit.cli.common.render import duration, print_json, print_notes

if TYPE_CHECKING:
    from llmkit.knowledge.ingestion.progress import IngestSummary, Progress


@click.command("ingest")
@click.argument("paths", nargs=-1, required=True, metavar="PATHS...")
@click.option(
    "--into", "--kb", "into", metavar="DIR", default=".llmkit/kb", envvar="LLMKIT_KB", show_default=True,
    help="Folder of the knowledge base; made where it is not there.",
)  # fmt: skip
@click.option(
    "--encoder", metavar="SPEC",
    help="Of a new knowledge base: a type word, or YAML as in '{type: local, model: /my/model}'. [default: local]",
)  # fmt: skip
@click.option(
    "--max-tokens", type=click.IntRange(16), help="Of a new knowledge base: longest chunk, in the encoder's tokens."
)
@click.option(
    "--language", metavar="CODE",
    help="Of a new knowledge base: language that words are stemmed in, as de or ja; without it, told from the texts. "
    "Named de or es, the default encoder reads its words, too.",
)  # fmt: skip
@click.option(
    "--near-duplicates", type=click.FloatRange(0, 1, min_open=True), metavar="SHARE",
    help="Of a new knowledge base: documents that share this much of another's wording are kept, but not indexed.",
)  # fmt: skip
@click.option(
    "--recall", type=click.FloatRange(0, 1, min_open=True),
    help="Of a new knowledge base: the recall@10 its vector index must reach with 95 % confidence; 1 searches exactly. "
    "[default: 0.99]",
)  # fmt: skip
@click.option("--workers", type=click.IntRange(1, 64), default=2, show_default=True, help="Processes that parse.")
@click.option("--max-mb", type=click.FloatRange(min=0), help="Largest file that is read, in MB.")
@click.option("--max-seconds", type=click.FloatRange(min=0), help="Longest time for parsing one file.")
@click.option(
    "--access", metavar="LABELS",
    help="Who may read these files, now and in later ingests, as in hr,board; '' lets everybody.",
)  # fmt: skip
@click.option("--reparse", is_flag=True, help="Read unchanged files again too.")
@json_option
def command(
    paths: tuple[str, ...],
    into: str,
    encoder: str | None,
    max_tokens: int | None,
    language: str | None,
    near_duplicates: float | None,
    recall: float | None,
    workers: int,
    max_mb: float | None,
    max_seconds: float | None,
    access: str | None,
    reparse: bool,
    as_json: bool,
) -> None:
    """Bring files and folders in. A second time, only what has changed is read and encoded."""
    from llmkit.text.loading.load import Limits

    changes: dict[str, Any] = {}
    if max_mb is not None:
        changes["max_bytes"] = int(max_mb * 1e6)
    if max_seconds is not None:
        changes["max_seconds"] = max_seconds
    bar = ProgressBar("files", quiet=as_json)

    def tell(progress: Progress) -> None:
        rate = f"{progress.files / bar.seconds:.0f} files/s, {progress.chunks / bar.seconds:.0f} chunks/s"
        bar.show(progress.files, progress.total, rate, more=progress.name[-60:])

    settings = {
        "encoder": encoder,
        "max_tokens": max_tokens,
        "language": language,
        "near_duplicates": near_duplicates,
        "recall": recall,
    }
    with open_or_create(Path(into).expanduser(), paths, **settings) as kb, bar:
        summary = kb.ingest(
            paths, limits=Limits(**changes), on_progress=tell, workers=workers, reparse=reparse, access=access
        )
    if as_json:
        print_json({**asdict(summary), "notes": kb.take_notes()})
    else:
        print_notes(kb.take_notes())
        _report(summary, into)
    if summary.files and summary.failed == summary.files:
        sys.exit(1)
    if not summary.files and not summary.removed:
        click.echo("llmkit: there was no file to read", err=True)
        sys.exit(1)


def _report(summary: IngestSummary, into: str) -> None:
    counts = ", ".join(f"{count} {status}" for status, count in sorted(summary.statuses.items())) or "none"
    rates = ""
    if summary.chunks and summary.seconds > 0:
        rates = f" ({summary.files / summary.seconds:.0f} files/s, {summary.chunks / summary.seconds:.0f} chunks/s)"
    click.echo(f"{summary.files} files in {duration(summary.seconds)}{rates}: {counts}")
    if summary.documents or summary.removed:
        click.echo(
            f"{summary.documents} documents became {summary.chunks} chunks: {summary.encoded} encoded, "
            f"{summary.reused} known already; {summary.removed} documents removed"
        )
    else:
        click.echo("nothing has changed: no text was encoded")
    if summary.duplicates:
        click.echo(
            f"{summary.duplicates} documents are near duplicates of others, kept and not indexed: "
            f"llmkit status --kb {into} --files"
        )
    for name, status, reason in summary.problems[:20]:
        click.echo(f"  {status:<11} {name}: {reason}")
    if len(summary.problems) > 20:
        click.echo(f"  … and {len(summary.problems) - 20} more: llmkit status --kb {into} --files")
