"""The search for a better prompt, as `llmkit experiment` runs it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from llmkit.cli.common.figures import align_columns
from llmkit.cli.common.render import print_json

if TYPE_CHECKING:
    from llmkit.experiments.experiment import Experiment
    from llmkit.experiments.optimise.outcome import Outcome
    from llmkit.experiments.optimise.search import Search
    from llmkit.experiments.running import Listener


def optimise(
    experiment: Experiment,
    runs: Path,
    workers: int,
    html: str | None,
    on_step: Listener,
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Print the plan, search, and print the outcome."""
    from llmkit.experiments.optimise import outcome as optimise_outcome
    from llmkit.experiments.optimise.report import render
    from llmkit.experiments.optimise.search import prepare
    from llmkit.experiments.report import write

    search = prepare(experiment, runs, note=lambda text: click.echo(text, err=True))
    _announce(search)
    if dry_run:
        return
    outcome = optimise_outcome.optimise(search, workers=workers, on_step=on_step)
    if html:
        write(render(search, outcome, describe_outcome(search, outcome)), Path(html))
    if as_json:
        print_json(optimise_outcome.as_json(search, outcome))
        return
    rows: list[tuple[str, ...]] = [("candidate", search.figure, "seen", "tokens", "front", "made by")]
    for point in outcome.points:
        made = "; ".join(search.made[point.name].made)
        cells = (f"{point.mean:.3f}", str(point.seen), f"{point.tokens:.0f}", "*" if point.front else "", made[:80])
        rows.append((point.name, *cells))
    click.echo(align_columns(rows))
    for note in search.notes:
        click.echo(note)
    click.echo(describe_outcome(search, outcome))
    click.echo(f"{search.path}" + (f"; the page is {html}" if html else ""))


def describe_outcome(search: Search, outcome: Outcome) -> str:
    """The outcome in one or two sentences."""
    spent = search.spent
    cost = f"{spent.calls} answers and {spent.tokens} tokens were asked for, {spent.known} answers were known"
    if outcome.paired is None:
        return f"{outcome.why}. {cost}"
    span = outcome.paired.difference
    where = "" if span.low is None or span.high is None else f" [{span.low:+.3f}, {span.high:+.3f}]"
    use = "" if outcome.use == 1 else f"; use {outcome.use} of these samples, which made it stricter"
    judged = (
        f"on {span.n} held-back samples {outcome.best} is {span.mean:+.3f}{where} beside {search.prompt.ref} "
        f"(confidence {outcome.level:.1%}{use})"
    )
    return f"{judged}: {outcome.why}. {cost}"


def _announce(search: Search) -> None:
    parts, strategy = search.split, search.strategy
    click.echo(
        f"{search.prompt.ref} of {strategy.prompt}: {len(parts.learn)} samples to learn from, {len(parts.raced)} to "
        f"race on, {len(parts.held)} held back, on which a difference of {search.detectable:.2f} is detected with "
        f"80 % power; deciding by {search.figure}",
        err=True,
    )
    each = (strategy.sets if strategy.examples else 0) + strategy.edits + strategy.proposals
    click.echo(
        f"{strategy.rounds} rounds of up to {each} new candidates; budget: {search.experiment.budget}; nothing can be "
        f"decided before {search.least} answers",
        err=True,
    )
