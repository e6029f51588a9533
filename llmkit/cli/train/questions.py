"""The command `llmkit train questions`."""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from llmkit.cli.common.figures import align_columns
from llmkit.cli.common.options import json_option
from llmkit.cli.common.progress import ProgressBar
from llmkit.cli.common.render import print_json, print_notes

if TYPE_CHECKING:
    from llmkit.knowledge.knowledge_base import KnowledgeBase


@click.command("questions")
@click.argument("docs", nargs=-1, metavar="[DOCS...]")
@click.option("--kb", metavar="DIR", help="A knowledge base instead of files and folders.")
@click.option("--out", metavar="FILE", default="questions.jsonl", show_default=True, help="For training; see below.")
@click.option("--per-passage", type=click.IntRange(1, 50), default=3, show_default=True, help="Most of one passage.")
@click.option("--dev-share", type=click.FloatRange(0, 0.9), default=0.2, show_default=True, help="Documents held out.")
@click.option(
    "--top", type=click.IntRange(1, 20), default=3, show_default=True, help="Rank of the own passage, at most."
)
@click.option("--model", metavar="SPEC", help="A chat model writes them, as in local:smollm2; without: rules, English.")
@click.option("--passages", type=click.IntRange(1), help="Only so many passages, spread evenly.")
@click.option("--seed", type=int, default=0, show_default=True, help="Which questions and which documents.")
@json_option
def command(
    docs: tuple[str, ...],
    kb: str | None,
    out: str,
    per_passage: int,
    dev_share: float,
    top: int,
    model: str | None,
    passages: int | None,
    seed: int,
    as_json: bool,
) -> None:
    """Make questions from your documents, each with the passage that answers it.

    What does not bring back its own passage by BM25 and dense vectors, or is answered by many, is dropped and counted.
    Held-out questions, of other documents, go beside FILE: questions.dev.jsonl.
    """
    if bool(docs) == bool(kb):
        raise click.UsageError("give DOCS, or a knowledge base with --kb")
    from llmkit.training.synthetic import round_trip_filter
    from llmkit.training.synthetic.llm_questions import by_model
    from llmkit.training.synthetic.rule_questions import by_rules

    target = Path(out).expanduser()
    held_out = target.with_name(f"{target.stem}.dev{target.suffix}")
    if not target.parent.is_dir():
        raise click.UsageError(f"the folder {target.parent} does not exist")
    with _knowledge(docs, kb, as_json) as base:
        rows = base.live_rows()
        if not len(rows):
            click.echo("llmkit: there is no passage to make questions of", err=True)
            sys.exit(1)
        if passages is not None and passages < len(rows):
            rows = rows[[i * len(rows) // passages for i in range(passages)]]
        chunks = base.chunks(rows)
        if model is None:
            made, left = by_rules(chunks, per_passage=per_passage, seed=seed)
        else:
            from llmkit.models.chat import load_chat

            with ProgressBar("passages", quiet=as_json) as bar:
                chat = load_chat(model)
                made, left = by_model(
                    chunks, chat, per_passage=per_passage, on_progress=lambda n, of: bar.show(n, of, "asked")
                )
        sifted = round_trip_filter.sift(base, made, top=top)
        print_notes(base.take_notes())
    train, dev = round_trip_filter.parted(sifted.kept, dev_share, seed)
    round_trip_filter.write(train, target)
    round_trip_filter.write(dev, held_out)
    kinds = Counter(str(one.kind) for one in sifted.kept)
    if as_json:
        print_json(
            {
                "passages": len(chunks),
                "made": len(made),
                "kept": dict(kinds),
                "dropped": dict(sifted.dropped),
                "left_out": dict(left),
                "train": {"path": str(target), "questions": len(train)},
                "dev": {"path": str(held_out), "questions": len(dev)},
            }
        )
    else:
        _tell(len(chunks), len(made), kinds, sifted.dropped, left)
        click.echo(f"{len(train)} questions for training in {target}, {len(dev)} held out in {held_out}")
    if dev_share and not (train and dev):
        side = "held out" if train else "for training"
        print_notes([f"no document fell to the questions {side}: more documents, or another --seed or --dev-share"])
    if not sifted.kept:
        sys.exit(1)


def _tell(passages: int, made: int, kinds: Counter[str], dropped: Counter[str], left: Counter[str]) -> None:
    click.echo(f"{made} questions from {passages} passages, {kinds.total()} kept")
    rows = [(str(n), f"kept: {kind}") for kind, n in kinds.most_common()]
    rows += [(str(n), f"dropped: {reason}") for reason, n in dropped.most_common()]
    rows += [(str(n), f"left out: {reason}") for reason, n in left.most_common()]
    click.echo(align_columns(rows))


@contextmanager
def _knowledge(docs: tuple[str, ...], kb: str | None, quiet: bool) -> Iterator[KnowledgeBase]:
    """The knowledge base named, or one of the files, for as long as it is needed."""
    from llmkit.encoders.local import LocalEncoder
    from llmkit.knowledge.knowledge_base import KnowledgeBase

    if kb is not None:
        with KnowledgeBase.open(kb) as base:
            yield base
        return
    with (
        tempfile.TemporaryDirectory(prefix="llmkit-questions-") as folder,
        KnowledgeBase.create(Path(folder) / "kb", encoder=LocalEncoder()) as base,
    ):
        with ProgressBar("files", quiet=quiet) as bar:
            summary = base.ingest(
                docs, on_progress=lambda seen: bar.show(seen.files, seen.total, "read", more=seen.name[-60:])
            )
        print_notes(f"{name}: {status}: {reason}" for name, status, reason in summary.problems[:20])
        if len(summary.problems) > 20:
            print_notes([f"… and {len(summary.problems) - 20} more files with notes"])
        yield base
