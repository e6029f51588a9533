"""The command `llmkit train reranker`."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import asdict

import click

from llmkit.cli.common.options import json_option
from llmkit.cli.common.render import duration, print_json, print_notes


@click.command("reranker")
@click.argument("recipe", default="train-reranker.yaml", metavar="[RECIPE]")
@click.option("--set", "overrides", multiple=True, metavar="PATH=VALUE", help="Change one value of the recipe.")
@json_option
def command(recipe: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Train a cross-encoder by a recipe, and judge it by the gate on questions it has not seen.

    Killed in the middle, the same command goes on from the last checkpoint. Exit code 1: it is no help.
    """
    from llmkit.training.reranker import data as reranker_data
    from llmkit.training.reranker.recipe import load_recipe
    from llmkit.training.reranker.train import Scorer, reciprocal_ranks, train
    from llmkit.training.significance_gate import judge

    asked = load_recipe(recipe, overrides)

    def tell(line: str) -> None:
        click.echo(line, err=True)

    data = reranker_data.prepare(asked, tell)
    print_notes(data.notes)
    tell(f"{len(data.train)} questions to learn from, {len(data.dev)} for dev, {len(data.test)} for the gate")
    done = train(asked, data.train, data.dev, tell)
    verdict = None
    if data.test:
        old = reciprocal_ranks(data.test, [group.prior for group in data.test])
        new = reciprocal_ranks(data.test, Scorer(done.folder).scores(data.test))
        verdict = judge(old, new, [group.cluster for group in data.test])
    figures = {
        "out": str(done.folder),
        "dev": {"retriever": done.before, "reranked": done.after, "questions": len(data.dev)},
        "steps": done.progress.step,
        "best_step": done.progress.best_step,
        "tokens_per_second": done.progress.tokens / max(done.progress.seconds, 1e-9),
        "seconds": done.progress.seconds,
        "cut_pairs": done.cut,
        "gate": asdict(verdict) if verdict else None,
        "recipe": asked.model_dump(mode="json"),
    }
    (done.folder / "figures.json").write_text(json.dumps(figures, indent=2, default=str) + "\n", encoding="utf-8")
    shutil.rmtree(reranker_data.corpus_folder(asked), ignore_errors=True)
    if as_json:
        print_json(figures)
    else:
        click.echo(
            f"{done.progress.step} steps in {duration(done.progress.seconds)}, best at {done.progress.best_step}; "
            f"dev MRR@10 {done.before:.3f} → {done.after:.3f} on {len(data.dev)} questions"
        )
        if done.cut:
            print_notes([f"{done.cut} pairs were longer than {asked.max_tokens} tokens and cut while training"])
        click.echo(str(verdict) if verdict else "no verdict: the recipe names no `test` questions")
        click.echo(f"saved in {done.folder}")
    if verdict and not verdict.adopted:
        sys.exit(1)
