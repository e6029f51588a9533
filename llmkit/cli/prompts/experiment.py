"""The command `llmkit experiment`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from llmkit.cli.common.figures import align_columns
from llmkit.cli.common.options import json_option, runs_option, set_option, workers_option
from llmkit.cli.common.progress import SECONDS_BETWEEN_LINES
from llmkit.cli.common.render import plural, print_json, stderr_is_terminal
from llmkit.cli.prompts.optimise import optimise

if TYPE_CHECKING:
    from llmkit.experiments.race.race import Decision
    from llmkit.experiments.running import Standing


@click.command("experiment")
@click.argument("file", metavar="NAME|FILE")
@set_option("the experiment", "budget.calls=500")
@workers_option
@click.option("--dry-run", is_flag=True, help="Check everything and print the plan; run nothing.")
@click.option("--html", metavar="FILE", help="Write an HTML page with the scores of every arm over time.")
@runs_option
@json_option
def command(
    file: str, overrides: tuple[str, ...], workers: int, dry_run: bool, html: str | None, runs: str, as_json: bool
) -> None:
    """Race the arms of an experiment until one is significantly best or they are tied; or search for a better prompt.

    An arm is one variant of a pipeline. Arms that are significantly worse are dropped early.
    """
    from llmkit.experiments import running
    from llmkit.experiments.experiment import load_experiment

    experiment = load_experiment(file, overrides)
    if experiment.optimises:
        with _Leaderboard(quiet=as_json) as board:
            optimise(experiment, Path(runs), workers, html, board.show, dry_run=dry_run, as_json=as_json)
        return
    standing = running.prepare(experiment, Path(runs), note=lambda text: click.echo(text, err=True))
    _announce(standing)
    if dry_run:
        return
    with _Leaderboard(quiet=as_json) as board:
        decision = running.run(standing, workers=workers, on_step=board.show)
    if as_json:
        print_json(running.as_json(standing, decision))
    else:
        click.echo(align_columns(_rows(standing, decision)))
        for arm, why in standing.why.items():
            click.echo(f"{standing.arms[arm].name} was withdrawn: {why}")
        click.echo(describe_decision(standing, decision))
        click.echo(standing.path)
    if html:  # last, so that a page that cannot be written does not lose the decision
        from llmkit.experiments.report import render, write

        write(render(standing, decision, describe_decision(standing, decision)), Path(html))
        click.echo(f"the page is {html}", err=True)


def describe_decision(standing: Standing, decision: Decision) -> str:
    """The decision in one or two sentences."""
    race, name = standing.race, standing.arms[decision.best].name
    grid = race.items * race.arms
    known = standing.spent.known
    cost = f"{decision.calls} of {grid} answers were asked for ({decision.calls / grid:.0%}), {known} of them known"
    if standing.silent:
        cost += f". Of {standing.silent} samples {standing.figure} says nothing; they only dilute differences"
    sure = f"wrong by more than {race.epsilon:g} with probability at most {race.delta:g}"
    if standing.why:
        names = ", ".join(standing.arms[arm].name for arm in standing.why)
        cost += f". Withdrawn, and not compared: {names}"
    if len(standing.why) == race.arms - 1:
        return f"no race: {name} is the only arm that could run. {cost}"
    if decision.kind == "undecided":
        why = standing.stopped or "every sample was used"
        others = len(decision.left) - 1
        return f"undecided: {why}. {name} leads, {others} more cannot be ruled out. {cost}"
    if decision.kind == "tie":
        names = ", ".join(standing.arms[arm].name for arm in decision.left[:4])
        names += f" and {len(decision.left) - 4} more" if len(decision.left) > 4 else ""
        return f"tie within {race.epsilon:g}: {names} ({sure}). {cost}"
    rest = len(decision.left) - 1
    are = "is" if rest == 1 else "are"
    more = (
        f"no arm is better by more than {race.epsilon:g}; how far {rest} of them {are} behind was not asked"
        if rest
        else "it beats every other arm"
    )
    return f"winner: {name}: {more} ({sure}). {cost}"


def _announce(standing: Standing) -> None:
    experiment, race = standing.experiment, standing.race
    click.echo(
        f"{len(standing.arms)} arms, {race.items} samples, {race.arms * race.items} answers for all of it; deciding by "
        f"{standing.figure}, differences up to {race.epsilon:g} do not matter, error rate {race.delta:g}",
        err=True,
    )
    click.echo(f"budget: {experiment.budget}; nothing can be decided before {standing.least} answers", err=True)
    for arm in standing.arms:
        click.echo(f"  {arm.name}", err=True)


def _rows(standing: Standing, decision: Decision) -> list[tuple[str, ...]]:
    race, means = standing.race, standing.race.means()
    from llmkit.experiments.running import describe_state

    missing = any(race.missing(n) for n in range(race.arms))
    rows: list[tuple[str, ...]] = [("arm", standing.figure, "seen", "against the best", "")]
    for n in sorted(range(race.arms), key=lambda arm: (arm not in race.running, -_sort_value(means[arm]))):
        mean = "" if means[n] != means[n] else f"{means[n]:.3f}"
        seen = f"{race.seen[n]}, {race.missing(n)} without a score" if missing else str(race.seen[n])
        if n == decision.best:
            rows.append((standing.arms[n].name, mean, seen, "", "leads"))
            continue
        value, low, high = race.difference(n, decision.best)
        against = "" if value != value else f"{value:+.3f} [{low:+.3f}, {high:+.3f}]"
        state = "withdrawn" if n in standing.why else describe_state(standing, n, decision.best)
        rows.append((standing.arms[n].name, mean, seen, against, state))
    return rows


def _sort_value(value: Any) -> float:
    """The mean, or -1 for an arm without one."""
    number = float(value)
    return -1.0 if number != number else number


class _Leaderboard:
    """The leaderboard during a race: a table on a terminal, a line every ten seconds elsewhere."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet, self._last_line = quiet, time.monotonic()
        self._live: Any = None
        if stderr_is_terminal() and not quiet:
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(stderr=True), transient=True, refresh_per_second=4)

    def __enter__(self) -> _Leaderboard:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def show(self, standing: Standing) -> None:
        """Show the present state of the race."""
        if self._live:
            self._live.update(_table(standing))
        elif not self._quiet and time.monotonic() - self._last_line > SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            race = standing.race
            leader, running = standing.arms[race.leader()].name, len(race.running)
            click.echo(
                f"{race.calls}/{race.arms * race.items} answers, {leader} leads, {plural(running, 'arm')} running",
                err=True,
            )


def _table(standing: Standing) -> Any:
    from rich.table import Table

    race, means = standing.race, standing.race.means()
    table = Table("arm", standing.figure, "seen", "", title=f"{race.calls} of {race.arms * race.items} answers")
    best = race.leader()
    for n in sorted(range(race.arms), key=lambda arm: (arm not in race.running, -_sort_value(means[arm]))):
        state = "leads" if n == best else "beaten" if n in race.out else "withdrawn" if n in race.withdrawn else ""
        table.add_row(standing.arms[n].name, f"{means[n]:.3f}", str(race.seen[n]), state)
    return table
