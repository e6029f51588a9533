"""The command `llmkit eval`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from llmkit.cli.common.figures import align_columns, figure_table, interval, number
from llmkit.cli.common.options import json_option, runs_option, set_option, workers_option
from llmkit.cli.common.progress import ProgressBar
from llmkit.cli.common.render import duration, print_json, strip_controls

if TYPE_CHECKING:
    from llmkit.evaluation.runs.plan import Plan
    from llmkit.evaluation.runs.run import Progress
    from llmkit.evaluation.tasks.task import Task


@click.command("eval")
@click.argument("pipelines", nargs=-1, metavar="[PIPELINES...]")
@click.option("--task", required=True, metavar="NAME|FILE", help="Task that scores them, as in docs or nq-dev.")
@set_option("the pipelines", "steps.retrieve.k=20")
@set_option("the task", "limit=50", flag="--task-set", name="task_overrides")
@workers_option
@click.option("--no-cache", is_flag=True, help="Start a new run, and do not cache replies of models.")
@click.option("--calibrate", is_flag=True, help="Without PIPELINES: compare the task's metrics with human labels.")
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
    """Run PIPELINES on a task and score them. Samples that an earlier run finished are not run again."""
    if bool(pipelines) == calibrate:
        raise click.UsageError("give PIPELINES to score, or --calibrate to compare the metrics with human labels")
    from llmkit.evaluation.runs.plan import plan
    from llmkit.evaluation.runs.run import evaluate
    from llmkit.evaluation.tasks.task import load_task
    from llmkit.pipeline import load_pipeline

    loaded = load_task(task, task_overrides)
    if calibrate:
        _calibrate(loaded, Path(runs), as_json)
        return
    loaded_pipelines = [load_pipeline(name, overrides) for name in pipelines]
    for pipeline in loaded_pipelines:
        planned = plan(pipeline, loaded, Path(runs), cache=not no_cache, note=lambda text: click.echo(text, err=True))
        _announce(planned)
        with ProgressBar("samples", quiet=as_json) as bar:
            folder = evaluate(
                planned,
                workers=workers,
                on_progress=_progress_callback(bar),
                on_wait=lambda text: click.echo(strip_controls(text), err=True),
            )
        summary = folder.summary()
        if as_json:
            print_json({"run": str(folder.path), **summary})
        else:
            click.echo(f"\n{folder.path}")
            click.echo(_counts(summary))
            click.echo(figure_table(summary["metrics"], loaded.figures))
            click.echo(_costs(summary))


def _calibrate(task: Task, runs: Path, as_json: bool) -> None:
    """Print how well the metrics of a task agree with human labels."""
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
        click.echo(f"{one.figure}: {one.n} rows, {one.positive} that people labelled as supported")
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
    """Print the number of samples, the rows that cannot be used, and the smallest difference that can be detected."""
    selection = planned.selection
    for bad in selection.bad:
        click.echo(f"sample left out: {bad}", err=True)
    if selection.bad_count > len(selection.bad):
        click.echo(f"… and {selection.bad_count - len(selection.bad)} more rows that cannot be used", err=True)
    chosen = len(selection.positions)
    some = f"{chosen} samples" if chosen == selection.total else f"{chosen} of {selection.total} samples"
    groups = "" if selection.clusters == chosen else f" in {selection.clusters} groups that share a document"
    click.echo(f"{planned.pipeline.name} on {planned.task.name}: {some}{groups}", err=True)
    click.echo(
        f"a difference of {100 * planned.detectable:.1f} points between two pipelines is detected with 80 % power, "
        "if they disagree on a quarter of the samples",
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


def _progress_callback(bar: ProgressBar) -> Callable[[Progress], None]:
    def show(progress: Progress) -> None:
        rate = progress.fresh / max(progress.seconds, 1e-6)
        left = f", {duration((progress.total - progress.done) / rate)} left" if progress.fresh else ""
        failed = f", {progress.errors} failed" if progress.errors else ""
        bar.show(progress.done, progress.total, f"{rate:.1f} samples/s{left}{failed}")

    return show
