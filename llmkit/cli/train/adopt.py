"""The command `llmkit train adopt`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

import click

from llmkit.cli.common.options import json_option, kb_option
from llmkit.cli.common.progress import ProgressBar
from llmkit.cli.common.render import print_json, print_notes


@click.command("adopt")
@click.argument("candidate", metavar="CANDIDATE")
@kb_option
@click.option(
    "--questions", required=True, metavar="FILE",
    help="Held-out questions, as `llmkit train questions` writes them; or YAML of a source of examples.",
)  # fmt: skip
@click.option("--tried", type=click.IntRange(1), default=1, show_default=True, help="Candidates judged on them so far.")
@click.option("--dry-run", is_flag=True, help="Judge, and change nothing.")
@json_option
def command(candidate: str, kb: str, questions: str, tried: int, dry_run: bool, as_json: bool) -> None:
    """Take a trained encoder into use, if the gate lets it through on your own questions.

    CANDIDATE is the folder of a trained retriever, or an encoder as YAML. The knowledge base is encoded anew as one
    generation; older ones stay as they are, and `llmkit kb rollback` goes back. Exit code 1: the old one stays.
    """
    from llmkit import config
    from llmkit.knowledge.knowledge_base import KnowledgeBase
    from llmkit.training.data.load import read
    from llmkit.training.retriever.compare_encoders import trial

    encoder = config.build_part("encoder", _spec(candidate, "encoder", "dual", "model"))
    source = config.build_part("examples", _spec(questions, "examples", "mined", "path"))
    held_out = read(source.examples())  # type: ignore[attr-defined]
    done = None
    with KnowledgeBase.open(kb) as base:
        with ProgressBar("passages", quiet=as_json) as bar:
            judged = trial(
                base, encoder, held_out.examples, tried=tried,  # type: ignore[arg-type]
                on_progress=lambda seen, of: bar.show(seen, of, "for the trial"),
            )  # fmt: skip
        told = [*held_out.notes(), *(f"{count} {reason}" for reason, count in judged.left.items())]
        if judged.verdict.adopted and not dry_run:
            with ProgressBar("passages", quiet=as_json) as bar:
                done = base.adopt(encoder, lambda seen, of: bar.show(seen, of, "into the knowledge base"))  # type: ignore[arg-type]
        told += base.take_notes()
    if as_json:
        verdict = {**asdict(judged.verdict), "said": str(judged.verdict)}
        print_json({"verdict": verdict, "adoption": asdict(done) if done else None, "notes": told})
    else:
        print_notes(told)
        click.echo(("dry run, nothing was changed: " if dry_run else "") + str(judged.verdict))
        if done:
            click.echo(
                f"{done.chunks} passages are encoded by {done.new}: generation {done.generation}, was {done.old}"
            )
    if not judged.verdict.adopted:
        sys.exit(1)


def _spec(text: str, family: str, kind: str, field: str) -> object:
    """A path as a part of that kind, a word or YAML as it is."""
    from llmkit import config
    from llmkit.registry import names

    if Path(text).expanduser().exists():
        return {"type": kind, field: text}
    if not text.lstrip().startswith("{") and text not in names(family):
        raise click.UsageError(f"there is no {text}: give a path, or YAML as in '{{type: {kind}, {field}: …}}'")
    return config.parse(f"part: {text}").values["part"]
