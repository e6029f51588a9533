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
@click.option("--fresh", is_flag=True, help="Discard an unfinished training in the same `out`.")
@json_option
def command(recipe: str, overrides: tuple[str, ...], fresh: bool, as_json: bool) -> None:
    """Train a cross-encoder by a recipe, and judge it on questions that it has not seen.

    If the training is killed, the same command continues it. Exit code 1: the reranker does not improve the ranking
    beyond chance.
    """
    from llmkit.cli.common.progress import ProgressBar
    from llmkit.cli.train.step_line import step_line
    from llmkit.training.reranker import data as reranker_data
    from llmkit.training.reranker.objective import MEASURE
    from llmkit.training.reranker.ranking import reciprocal_ranks
    from llmkit.training.reranker.recipe import load_recipe
    from llmkit.training.reranker.train import ServedReranker, train
    from llmkit.training.significance_gate import judge

    loaded = load_recipe(recipe, overrides)

    def note(line: str) -> None:
        click.echo(line, err=True)

    data = reranker_data.prepare(loaded, note)
    print_notes(data.notes)
    note(f"{len(data.train)} questions to learn from, {len(data.dev)} for dev, {len(data.test)} for the gate")
    with ProgressBar("steps", quiet=as_json) as bar:
        done = train(
            loaded,
            data.train,
            data.dev,
            fresh=fresh,
            note=note,
            on_step=lambda report: bar.show(report.step, report.steps, step_line(report, MEASURE)),
        )
    verdict = None
    if data.test:
        old = reciprocal_ranks(data.test, [group.prior for group in data.test])
        new = reciprocal_ranks(data.test, ServedReranker(done.folder).scores(data.test))
        verdict = judge(old, new, [group.cluster for group in data.test])
    state = done.state
    figures = {
        "out": str(done.folder),
        "dev": {"retriever": done.before, "reranked": done.after, "questions": len(data.dev)},
        "steps": state.step,
        "best_step": state.best_step,
        "tokens_per_second": state.tokens / max(state.seconds, 1e-9),
        "seconds": state.seconds,
        "cut_pairs": done.cut,
        "gate": asdict(verdict) if verdict else None,
        "recipe": loaded.model_dump(mode="json"),
    }
    (done.folder / "figures.json").write_text(json.dumps(figures, indent=2, default=str) + "\n", encoding="utf-8")
    shutil.rmtree(reranker_data.corpus_folder(loaded), ignore_errors=True)
    if as_json:
        print_json(figures)
    else:
        click.echo(
            f"{state.step} steps in {duration(state.seconds)}, best at {state.best_step}; "
            f"dev MRR@10 {done.before:.3f} → {done.after:.3f} on {len(data.dev)} questions"
        )
        if done.cut:
            print_notes([f"{done.cut} pairs were longer than {loaded.max_tokens} tokens and cut while training"])
        click.echo(str(verdict) if verdict else "no verdict: the recipe names no `test` questions")
        click.echo(f"saved in {done.folder}; the curve is in loss.svg")
    if verdict and not verdict.adopted:
        sys.exit(1)
