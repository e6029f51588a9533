"""The command `llmkit correct`."""

from __future__ import annotations

from pathlib import Path

import click

from llmkit.cli.common.figures import align_columns, interval, number
from llmkit.cli.common.options import json_option
from llmkit.cli.common.render import print_json


@click.command("correct")
@click.argument("run", metavar="RUN")
@click.option("--metric", required=True, metavar="FIGURE", help="Figure of the judge, as in judged.")
@click.option(
    "--labels",
    required=True,
    metavar="FILE",
    help='JSONL file of {"id", "label"}; 1 or 0, for samples chosen at random.',
)
@json_option
def command(run: str, metric: str, labels: str, as_json: bool) -> None:
    """Estimate the mean of human labels from a judge's scores of all samples and the labels of a few.

    The estimate is prediction-powered inference: its interval holds even if the judge is biased.
    """
    from llmkit.errors import DataError, unknown
    from llmkit.evaluation.analysis.judge_calibration import prediction_powered
    from llmkit.evaluation.analysis.statistics import mean_interval
    from llmkit.evaluation.runs.run_folder import RunFolder
    from llmkit.evaluation.tasks.rows import BadRow, jsonl

    folder = RunFolder(Path(run))
    if metric not in folder.run["metrics"]:
        raise DataError(unknown("figure", metric, folder.run["metrics"]))
    judged = {row["id"]: row["scores"][metric] for row in folder.scores() if metric in row["scores"]}
    given: dict[str, float] = {}
    for item in jsonl(Path(labels)):
        if isinstance(item, BadRow):
            raise DataError(str(item))
        place, row = item
        if str(row.get("id")) not in judged:
            raise DataError(f"{place}: {metric} has no score of a sample {row.get('id')!r}")
        if row.get("label") not in (0, 1):
            raise DataError(f"{place}: a label is 1 or 0, not {row.get('label')!r}")
        given[str(row["id"])] = float(row["label"])
    rest = [score for name, score in judged.items() if name not in given]
    mean, low, high = prediction_powered(rest, [judged[name] for name in given], list(given.values()))
    people = mean_interval(list(given.values()))
    if as_json:
        print_json({"mean": mean, "low": low, "high": high, "labels": len(given), "judged": len(judged)})
        return
    naive = sum(judged.values()) / len(judged)
    click.echo(
        align_columns(
            [
                ("", "mean", "95 % interval", "n"),
                ("judge alone", number(naive), "no valid interval", str(len(judged))),
                ("labels alone", number(people.mean), interval(people.low, people.high), str(people.n)),
                ("both", number(mean), interval(low, high), str(len(judged))),
            ]
        )
    )
