"""Flipped samples in the terminal: in groups, and some of them side by side."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from itertools import zip_longest
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Any

import click

from llmkit.cli.common.figures import align_columns
from llmkit.cli.common.render import excerpt

if TYPE_CHECKING:
    from llmkit.evaluation.analysis.regressions import Flip, Flips, Side

_MOST = 8  # groups of a kind
_LINES = 12  # of a difference between prompts


def flips_row(found: Flips, groups: Sequence[str]) -> dict[str, Any]:
    """JSON values of the flips of two runs."""
    by = {group: [{"group": n, "won": won, "lost": lost} for n, won, lost in found.by(group)] for group in groups}
    return {
        "metric": found.metric, "samples": found.samples, "won": found.count("won"), "lost": found.count("lost"),
        "by": by, "found": [asdict(one) for one in found.found],
    }  # fmt: skip


def show_flips(found: Flips, groups: Sequence[str], show: int) -> None:
    """Print how many flipped, in which groups, and some of them side by side."""
    click.echo(
        f"\nflipped on {found.metric}: {found.count('won')} won, {found.count('lost')} lost, of {found.samples} samples"
    )
    if not found.found:
        return
    for group in groups:
        rows = found.by(group)
        table = [(f"by {group}", "won", "lost", "")]
        table += [(excerpt(name, 60), str(won), str(lost), "") for name, won, lost in rows[:_MOST]]
        click.echo(align_columns(table))
        if len(rows) > _MOST:
            click.echo(f"and {len(rows) - _MOST} more groups")
    for one in _chosen(found, show):
        _show(one)
    if len(found.found) > show:
        click.echo(f"\n{len(found.found) - show} more flips: --show {len(found.found)}, or llmkit report", err=True)


def _chosen(found: Flips, show: int) -> list[Flip]:
    """Flips of as many causes as there are, lost ones first."""
    by_cause: dict[tuple[str, str], list[Flip]] = {}
    for one in found.found:
        by_cause.setdefault((one.outcome, one.cause), []).append(one)
    turns = zip_longest(*by_cause.values())
    return [one for turn in turns for one in turn if one is not None][:show]


def _show(one: Flip) -> None:
    from llmkit.evaluation.report.regressions import side_by_side

    click.echo(f"\n{one.outcome} {one.id} ({one.cause}, {one.kind}): {excerpt(one.question)}")
    click.echo(f"right: {excerpt(' · '.join(one.answers)) or 'none given'}")
    click.echo(_columns(_told(one.a, one.b, "before"), _told(one.b, one.a, "now")))
    if one.cause in ("prompt", "reply"):
        lines = list(side_by_side(one))[2:]
        for line in lines[:_LINES]:
            click.echo(f"  {excerpt(line, 110)}")
        if len(lines) > _LINES:
            click.echo(f"  … {len(lines) - _LINES} more lines")


def _told(side: Side, other: Side, name: str) -> list[str]:
    """A run's way to its answer, a line a thing."""
    there = {passage for passage, _, _ in other.passages}
    score = "-" if side.score is None else f"{side.score:.3f}"
    stage = f", to blame: {side.stage}" if side.stage else ""
    lines = [f"{name}: {score}{stage}", side.error or side.said or "(nothing)"]
    for n, (passage, _, right) in enumerate(side.passages, 1):
        lines.append(f"[{n}] {'' if passage in there else '+ '}{passage}{' (holds the answer)' if right else ''}")
    return lines


def _columns(left: Sequence[str], right: Sequence[str]) -> str:
    """Two lists beside one another, wrapped to the terminal."""
    width = (min(get_terminal_size((100, 24)).columns, 140) - 5) // 2
    rows = []
    for a, b in zip_longest(left, right, fillvalue=""):
        wrapped = [textwrap.wrap(excerpt(text, 4 * width), width, subsequent_indent="  ") or [""] for text in (a, b)]
        rows += [f"  {x:<{width}} | {y}".rstrip() for x, y in zip_longest(*wrapped, fillvalue="")]
    return "\n".join(rows)
