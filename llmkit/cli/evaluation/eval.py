"""The command `llmkit eval`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from llmkit.cli.common.figures import align_columns, figure_table, interval, number
from llmkit.cli.common.options import json_option, runs_option
from llmkit.cli.common.progress import ProgressBar
from llmkit.cli.common.render import duration, print_json

if TYPE_CHECKING:
    from llmkit.evaluation.runs.plan import Plan
    from llmkit.evaluation.runs.run import Progress
    from llmkit.evaluation.tasks.task import Task


@click.command("eval")
@click.argument("pipelines", nargs=-1, metavar="[PIPELINES...]")
@click.option("--task", required=True, metavar="NAME|FILE", help="What they are judged on, as in tasks/nq-dev.")
@click.option("--set", "overrides", multiple=True, metavar="PATH=VALUE", help="Change the pipelines; repeatable.")
@click.option(
    "--task-set", "task_overrides", multiple=True, metavar="PATH=VALUE", help="Change the task, as in limit=50."
)
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Samples at a time.")
@click.option("--no-cache", is_flag=True, help="Begin anew and remember no answers of models.")
@click.option("--calibrate", is_flag=True, help="Score the task's metrics themselves against human labels.")
@runs_option
@json_option
def command(
    pipelines: tuple[str, ...],
    task: str,
    overrides: tuple[str, ...],
    task_overrides: tuple[str, ...],
    workers: int,
    no_cache: bool,
    calibrate: bool,
    runs: str,
    as_json: bool,
) -> None:
    """Run pipelines on a task; what was done before is not done again."""
    if bool(pipelines) == calibrate:
        raise click.UsageError("give PIPELINES to judge, or --calibrate to judge the metrics")
    from llmkit.evaluation.runs.plan import plan
    from llmkit.evaluation.runs.run import evaluate
    from llmkit.evaluation.tasks.task import load_task
    from llmkit.pipeline import load_pipeline

    loaded = load_task(task, task_overrides)
    if calibrate:
        _calibrate(loaded, Path(runs), as_json)
        return
    made = [load_pipeline(name, overrides) for name in pipelines]
    for pipeline in made:
        planned = plan(pipeline, loaded, Path(runs), cache=not no_cache, note=lambda text: click.echo(text, err=True))
        _announce(planned)
        with ProgressBar("samples", quiet=as_json) as bar:
            folder = evaluate(planned, workers=workers, on_progress=_teller(bar))
        summary = folder.summary()
        if as_json:
            print_json({"run": str(folder.path), **summary})
        else:
            click.echo(f"\n{folder.path}")
            click.echo(_counts(summary))
            click.echo(figure_table(summary["metrics"], loaded.figures))
            click.echo(_costs(summary))


def _calibrate(task: Task, runs: Path, as_json: bool) -> None:
    """Judge the judges."""
    from dataclasses import asdict

    from llmkit.evaluation.analysis.judge_calibration import calibrate
    from llmkit.evaluation.runs.plan import caching_loader
    from llmkit.models.response_cache import ResponseCache

    responses = ResponseCache(runs / ".cache" / "responses.sqlite")
    found = calibrate(task.with_models(caching_loader(responses)))
    if as_json:
        print_json([asdict(one) for one in found])
        return
    for one in found:
        click.echo(f"{one.figure}: {one.n} rows, {one.positive} called supported by people")
        rows = [("", "", "95 % interval", "")]
        rows.append(("ROC-AUC", number(one.auc.mean), interval(one.auc.low, one.auc.high), "0.5 is chance"))
        agreed = one.agreement
        rows.append(("agreement", number(agreed.mean), interval(agreed.low, agreed.high), "a score of 0.5 and above"))
        rows.append(("kappa", number(one.kappa), "", "0 is chance"))
        rows.append(("mean", number(one.naive), "", f"people: {number(one.truth)}"))
        click.echo(align_columns(rows))
        for reason, count in one.reasons.items():
            click.echo(f"{count} unscored: {reason}")


def _announce(planned: Plan) -> None:
    """Say what will be run, what cannot be, and what it can show."""
    selection = planned.selection
    for bad in selection.bad:
        click.echo(f"sample left out: {bad}", err=True)
    if selection.bad_count > len(selection.bad):
        click.echo(f"… and {selection.bad_count - len(selection.bad)} more rows that cannot be used", err=True)
    taken = len(selection.positions)
    some = f"{taken} samples" if taken == selection.total else f"{taken} of {selection.total} samples"
    groups = "" if selection.clusters == taken else f" in {selection.clusters} groups that share a document"
    click.echo(f"{planned.pipeline.name} on {planned.task.name}: {some}{groups}", err=True)
    click.echo(
        f"a difference of {100 * planned.detectable:.1f} points between two pipelines would be found four times out of "
        "five (if they disagree on a quarter of the samples)",
        err=True,
    )


def _counts(summary: dict[str, Any]) -> str:
    figure = summary["metrics"].get(summary["decides"]) or {"unscored": 0, "reasons": {}}
    words = [f"{summary['ok'] - figure['unscored']} of {summary['n']} samples scored"]
    words += [f"{summary[kind]} {kind}" for kind in ("errors", "timeouts") if summary[kind]]
    words += [f"{figure['unscored']} without {summary['decides']}"] if figure["unscored"] else []
    lines = [", ".join(words)]
    lines += [f"  {count} x {reason}" for reason, count in (summary["failures"] | figure["reasons"]).items()]
    return "\n".join(lines)


def _costs(summary: dict[str, Any]) -> str:
    latency, tokens = summary["latency"], summary["tokens"]
    words = []
    if latency:
        words.append(f"{duration(latency['p50'])} p50, {duration(latency['p95'])} p95 a sample")
    elif summary["ok"]:
        words.append("no times: every answer came from the cache")
    if tokens.get("calls"):
        words.append(f"{tokens['calls']} calls ({tokens['cached']} from the cache)")
        words.append(f"{tokens['input']} tokens in, {tokens['output']} out")
        words.append("no price known" if summary["cost"] is None else f"cost {number(summary['cost'], 'money')}")
    return "; ".join(words)


def _teller(bar: ProgressBar) -> Callable[[Progress], None]:
    def tell(progress: Progress) -> None:
        rate = progress.fresh / max(progress.seconds, 1e-6)
        left = f", {duration((progress.total - progress.done) / rate)} left" if progress.fresh else ""
        failed = f", {progress.errors} failed" if progress.errors else ""
        bar.show(progress.done, progress.total, f"{rate:.1f} samples/s{left}{failed}")

    return tell
