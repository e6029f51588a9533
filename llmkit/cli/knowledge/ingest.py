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
from llmkit.cli.common.render import duration, plural, print_json, print_notes

if TYPE_CHECKING:
    from llmkit.knowledge.ingestion.progress import IngestSummary, Progress


@click.command("ingest")
@click.argument("paths", nargs=-1, required=True, metavar="PATHS...")
@click.option(
    "--into", "--kb", "into", metavar="DIR", default=".llmkit/kb", envvar="LLMKIT_KB", show_default=True,
    help="Folder of the knowledge base; created if it does not exist.",
)  # fmt: skip
@click.option(
    "--encoder", metavar="SPEC",
    help="New knowledge base only. Encoder: local, minilm, hashing, openai:MODEL, a model's folder, or YAML as in "
    "'{type: local, model: /my/model}'. [default: local]",
)  # fmt: skip
@click.option(
    "--max-tokens",
    type=click.IntRange(16),
    help="New knowledge base only. Longest chunk, in tokens of the encoder. "
    "[default: 256, or less where the encoder reads less]",
)
@click.option(
    "--language", metavar="CODE",
    help="New knowledge base only. Language of the documents, as de or ja: selects the stemmer of the BM25 index, and "
    "for de and es a bilingual dictionary of the default encoder. [default: detected from the first texts]",
)  # fmt: skip
@click.option(
    "--near-duplicates", type=click.FloatRange(0, 1, min_open=True), metavar="SHARE",
    help="New knowledge base only. Keep, but do not index, a document that shares this much of its wording with "
    "another, as in 0.9.",
)  # fmt: skip
@click.option(
    "--recall", type=click.FloatRange(0, 1, min_open=True),
    help="New knowledge base only. Recall@10 that the vector index must reach with 95 % confidence; 1 searches "
    "exactly. [default: 0.99]",
)  # fmt: skip
@click.option("--workers", type=click.IntRange(1, 64), default=2, show_default=True, help="Processes that parse files.")
@click.option("--max-mb", type=click.FloatRange(min=0), help="Skip files larger than this, in MB.")
@click.option(
    "--max-seconds", type=click.FloatRange(min=0), help="Give up on a file after this many seconds of parsing."
)
@click.option(
    "--access", metavar="LABELS",
    help="Access labels of these files, as in hr,board; later ingests keep them. '' lets everybody read them.",
)  # fmt: skip
@click.option("--reparse", is_flag=True, help="Parse unchanged files again, too.")
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
    """Read files and folders into a knowledge base.

    A second ingest reads and encodes only what has changed, and removes documents whose files are gone from a folder.
    """
    from llmkit.text.loading.load_files import Limits

    changes: dict[str, Any] = {}
    if max_mb is not None:
        changes["max_bytes"] = int(max_mb * 1e6)
    if max_seconds is not None:
        changes["max_seconds"] = max_seconds
    bar = ProgressBar("files", quiet=as_json)

    def show(progress: Progress) -> None:
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
            paths, limits=Limits(**changes), on_progress=show, workers=workers, reparse=reparse, access=access
        )
    if as_json:
        print_json({**asdict(summary), "notes": kb.take_notes()})
    else:
        print_notes(kb.take_notes())
        _print_summary(summary, into)
    if summary.files and summary.failed == summary.files:
        sys.exit(1)
    if not summary.files and not summary.removed:
        click.echo("llmkit: there is no file to read", err=True)
        sys.exit(1)


def _print_summary(summary: IngestSummary, into: str) -> None:
    counts = ", ".join(f"{count} {status}" for status, count in sorted(summary.statuses.items())) or "none"
    rates = ""
    if summary.chunks and summary.seconds > 0:
        rates = f" ({summary.files / summary.seconds:.0f} files/s, {summary.chunks / summary.seconds:.0f} chunks/s)"
    click.echo(f"{plural(summary.files, 'file')} in {duration(summary.seconds)}{rates}: {counts}")
    if summary.documents or summary.removed:
        click.echo(
            f"{plural(summary.documents, 'document')} became {plural(summary.chunks, 'chunk')}: {summary.encoded} "
            f"encoded, {summary.reused} known already; {plural(summary.removed, 'document')} removed"
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
