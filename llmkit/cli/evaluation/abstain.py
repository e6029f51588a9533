"""The command `llmkit abstain`."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from llmkit.cli.common.figures import interval
from llmkit.cli.common.options import json_option, runs_option, set_option, workers_option
from llmkit.cli.common.progress import ProgressBar
from llmkit.cli.common.render import print_json
from llmkit.errors import ConfigError, DataError

if TYPE_CHECKING:
    from llmkit.evaluation.analysis.drift import Alarm
    from llmkit.pipeline.pipeline import Pipeline
    from llmkit.pipeline.steps.answering.abstain import Abstain, Calibration


@click.group("abstain")
def command() -> None:
    """Calibrate the step `abstain`, which answers only when few enough answers are wrong."""


@command.command("learn")
@click.argument("pipeline", metavar="PIPELINE")
@click.option(
    "--task",
    required=True,
    metavar="NAME|FILE",
    help="Task with labelled questions, drawn like the questions of production.",
)
@click.option(
    "--metric", metavar="FIGURE", help="An answer with a score below 0.5 is wrong. [default: right_if_answered]"
)
@set_option("the pipeline", "steps.retrieve.k=20")
@set_option("the task", "limit=50", flag="--task-set", name="task_overrides")
@workers_option
@runs_option
@json_option
def learn(
    pipeline: str,
    task: str,
    metric: str | None,
    overrides: tuple[str, ...],
    task_overrides: tuple[str, ...],
    workers: int,
    runs: str,
    as_json: bool,
) -> None:
    """Run the steps before `abstain` on a task, learn the threshold, and write the step's calibration file."""
    from datetime import UTC, datetime

    from llmkit.evaluation.analysis.risk_control import learn, outcomes
    from llmkit.evaluation.runs.plan import plan
    from llmkit.evaluation.runs.run import evaluate
    from llmkit.evaluation.tasks.task import load_task
    from llmkit.pipeline import load_pipeline
    from llmkit.pipeline.steps.answering.abstain import Calibration

    whole, loaded_task = load_pipeline(pipeline, overrides), load_task(task, task_overrides)
    step, place = _abstain_step(whole)
    figure = metric or "right_if_answered"
    if figure not in loaded_task.figures:
        known = ", ".join(loaded_task.figures)
        raise ConfigError(f"task {loaded_task.name} has no figure {figure!r}: name one with --metric (known: {known})")
    first = whole.replace(steps=whole.steps[:place])
    planned = plan(first, loaded_task, Path(runs), note=lambda text: click.echo(text, err=True))
    with ProgressBar("samples", quiet=as_json) as bar:
        folder = evaluate(
            planned, workers=workers, on_progress=lambda p: bar.show(p.done, p.total, f"{p.errors} failed")
        )
    found = outcomes(folder, figure)
    learnt = learn(found.outcomes, step.error, step.confidence)
    made = Calibration(
        pipeline=whole.identity(place), error=step.error, confidence=step.confidence, threshold=learnt.threshold,
        figure=figure, task=loaded_task.name, dataset=folder.run["dataset"]["digest"], asked=learnt.asked,
        answered=learnt.answered, wrong=learnt.wrong, tuned=learnt.tuned, needed=learnt.needed,
        scores=tuple(one.confidence for one in found.outcomes if one.confidence is not None),
        made=datetime.now(UTC).isoformat(timespec="seconds"),
    )  # fmt: skip
    path = Path(step.calibration).expanduser()
    made.save(path)
    if as_json:
        print_json({"calibration": str(path), "run": str(folder.path), **asdict(made)})
        return
    for count, words in (
        (found.failed, "samples failed; the guarantee does not cover such questions"),
        (found.unscored, f"answers have no {figure}; they count as wrong"),
        (found.grouped, "samples were left out: one of each cluster is used, because samples must be independent"),
    ):
        if count:
            click.echo(f"{count} {words}", err=True)
    _show(made)
    click.echo(f"written to {path}; the run is {folder.path}", err=True)


@command.command("show")
@click.argument("file", default=".llmkit/abstention.json", metavar="[FILE]")
@json_option
def show(file: str, as_json: bool) -> None:
    """Show the guarantee of a calibration, its coverage, and the data it was learnt from."""
    from llmkit.pipeline.steps.answering.abstain import read_calibration

    found = read_calibration(Path(file))
    if as_json:
        print_json(asdict(found))
    else:
        _show(found)


@command.command("watch")
@click.argument("file", default=".llmkit/abstention.json", metavar="[FILE]")
@click.option("--log", metavar="FILE", help="Confidences of later questions, as the step's `log` writes them.")
@click.option("--labels", metavar="FILE", help='JSONL file of {"right": 1 or 0} for later answers, in order.')
@click.option("--false-alarms", type=click.FloatRange(0, 1, True, True), default=0.05, show_default=True,
              help="Probability of any alarm although nothing has changed.")  # fmt: skip
@json_option
def watch(file: str, log: str | None, labels: str | None, false_alarms: float, as_json: bool) -> None:
    """Test whether the guarantee may no longer hold: confidences have shifted, or too many answers are wrong.

    Exit code 1: there is an alarm.
    """
    if log is None and labels is None:
        raise click.UsageError("give --log, --labels, or both")
    from llmkit.evaluation.analysis.drift import labels_drift, scores_drift
    from llmkit.pipeline.steps.answering.abstain import read_calibration

    learnt = read_calibration(Path(file))
    alarms: dict[str, Alarm] = {}
    if log is not None:
        if not Path(log).expanduser().exists():
            raise DataError(f"there is no {log}: the step abstain writes it if its `log` names the file")
        later = [_number(row, "confidence", place) for place, row in _rows(log)]
        alarms["confidences"] = scores_drift(learnt.scores, later, false_alarms)
    if labels is not None:
        wrong = [_label(row, place) == 0 for place, row in _rows(labels)]
        alarms["wrong answers"] = labels_drift(wrong, learnt.error, false_alarms)
    if as_json:
        print_json({name: asdict(alarm) for name, alarm in alarms.items()})
    else:
        for name, alarm in alarms.items():
            evidence = f"evidence {alarm.evidence:.3g} of {alarm.needed:g}"
            if alarm.rang_at is None:
                click.echo(f"{name}: no alarm after {alarm.seen} ({evidence})")
            else:
                click.echo(
                    f"{name}: ALARM at {alarm.rang_at} of {alarm.seen} ({evidence}): label new questions, learn again"
                )
    if any(alarm.rang_at is not None for alarm in alarms.values()):
        sys.exit(1)


def _show(found: Calibration) -> None:
    from llmkit.evaluation.analysis.risk_control import upper
    from llmkit.evaluation.analysis.statistics import wilson

    click.echo(
        f"guarantee: at most {found.error:.1%} of the given answers are wrong, with confidence {found.confidence:.1%}, "
        f"for questions drawn like those of {found.task}"
    )
    if found.threshold is None:
        click.echo("coverage: the step answers NOTHING. No threshold meets this guarantee on these questions.")
        if found.asked < 2 * found.needed:
            click.echo(
                f"{found.asked} questions were tested; this needs at least {found.needed} answers without an error: "
                "label more questions, or allow a larger error"
            )
        else:
            click.echo(
                "Too many of the most confident answers are wrong: allow a larger error, or improve the pipeline."
            )
        return
    low, high = wilson(found.answered, found.asked)
    bound = upper(found.wrong, found.answered, found.confidence)
    click.echo(
        f"coverage: {found.answered} of {found.asked} questions are answered, {found.answered / found.asked:.1%} "
        f"{interval(low, high)}, with a confidence of at least {found.threshold:.4f}"
    )
    click.echo(f"error: {found.wrong} of them were wrong; the true error rate is at most {bound:.1%} (Clopper-Pearson)")
    click.echo(
        f"learnt on {found.tuned} + {found.asked} questions with {found.figure}, "
        f"of pipeline {found.pipeline}, {found.made}"
    )


def _abstain_step(pipeline: Pipeline) -> tuple[Abstain, int]:
    from llmkit.pipeline.steps.answering.abstain import Abstain

    found = [(step, n) for n, step in enumerate(pipeline.steps) if isinstance(step, Abstain)]
    if len(found) != 1:
        raise ConfigError(
            f"pipeline {pipeline.name} has {len(found)} steps `abstain`; it needs one, as in "
            "{type: abstain, error: 0.05, confidence: 0.95}"
        )
    return found[0]


def _rows(file: str) -> list[tuple[str, dict[str, object]]]:
    from llmkit.evaluation.tasks.rows import BadRow, jsonl

    rows = []
    for item in jsonl(Path(file)):
        if isinstance(item, BadRow):
            raise DataError(str(item))
        rows.append(item)
    return rows


def _label(row: dict[str, object], place: str) -> float:
    value = _number(row, "right", place)
    if value not in (0, 1):
        raise DataError(f"{place}: 'right' must be 1 or 0, not {value:g}")
    return value


def _number(row: dict[str, object], key: str, place: str) -> float:
    value = row.get(key)
    if isinstance(value, bool | int | float) and float(value) == float(value):
        return float(value)
    if key not in row:
        raise DataError(f"{place}: there is no {key!r} (there is: {', '.join(row) or 'nothing'})")
    raise DataError(f"{place}: {key!r} must be a number, not {json.dumps(value)}")
