"""Flips of a comparison: counted by group, and some of them side by side.

A flip is a sample that one run answers right and the other wrong.
"""

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

_MAX_GROUPS = 8
_MAX_DIFF_LINES = 12


def flips_row(flips: Flips, groups: Sequence[str]) -> dict[str, Any]:
    """The flips of two runs as JSON values."""
    by = {group: [{"group": n, "won": won, "lost": lost} for n, won, lost in flips.by(group)] for group in groups}
    return {
        "metric": flips.metric, "samples": flips.samples, "won": flips.count("won"), "lost": flips.count("lost"),
        "by": by, "found": [asdict(one) for one in flips.found],
    }  # fmt: skip


def show_flips(flips: Flips, groups: Sequence[str], show: int) -> None:
    """Print the number of flips, their groups, and the first `show` of them side by side."""
    click.echo(
        f"\nflipped on {flips.metric}: {flips.count('won')} won, {flips.count('lost')} lost, of {flips.samples} samples"
    )
    if not flips.found:
        return
    for group in groups:
        rows = flips.by(group)
        table = [(f"by {group}", "won", "lost", "")]
        table += [(excerpt(name, 60), str(won), str(lost), "") for name, won, lost in rows[:_MAX_GROUPS]]
        click.echo(align_columns(table))
        if len(rows) > _MAX_GROUPS:
            click.echo(f"and {len(rows) - _MAX_GROUPS} more groups")
    for one in _select(flips, show):
        _show(one)
    if len(flips.found) > show:
        click.echo(f"\n{len(flips.found) - show} more flips: --show {len(flips.found)}, or llmkit report", err=True)


def _select(flips: Flips, show: int) -> list[Flip]:
    """The first `show` flips, spread over all causes, lost ones first."""
    by_cause: dict[tuple[str, str], list[Flip]] = {}
    for one in flips.found:
        by_cause.setdefault((one.outcome, one.cause), []).append(one)
    rounds = zip_longest(*by_cause.values())
    return [one for group in rounds for one in group if one is not None][:show]


def _show(one: Flip) -> None:
    from llmkit.evaluation.report.regressions import side_by_side

    click.echo(f"\n{one.outcome} {one.id} ({one.cause}, {one.kind}): {excerpt(one.question)}")
    click.echo(f"right: {excerpt(' · '.join(one.answers)) or 'none given'}")
    click.echo(_columns(_side_lines(one.a, one.b, "before"), _side_lines(one.b, one.a, "now")))
    if one.cause in ("prompt", "reply"):
        lines = list(side_by_side(one))[2:]
        for line in lines[:_MAX_DIFF_LINES]:
            click.echo(f"  {excerpt(line, 110)}")
        if len(lines) > _MAX_DIFF_LINES:
            click.echo(f"  … {len(lines) - _MAX_DIFF_LINES} more lines")


def _side_lines(side: Side, other: Side, name: str) -> list[str]:
    """Score, reply and passages of one run."""
    there = {passage for passage, _, _ in other.passages}
    score = "-" if side.score is None else f"{side.score:.3f}"
    stage = f", to blame: {side.stage}" if side.stage else ""
    lines = [f"{name}: {score}{stage}", side.error or side.said or "(nothing)"]
    for n, (passage, _, right) in enumerate(side.passages, 1):
        lines.append(f"[{n}] {'' if passage in there else '+ '}{passage}{' (holds the answer)' if right else ''}")
    return lines


def _columns(left: Sequence[str], right: Sequence[str]) -> str:
    """Two lists of lines side by side, wrapped to the width of the terminal."""
    width = (min(get_terminal_size((100, 24)).columns, 140) - 5) // 2
    rows = []
    for a, b in zip_longest(left, right, fillvalue=""):
        wrapped = [textwrap.wrap(excerpt(text, 4 * width), width, subsequent_indent="  ") or [""] for text in (a, b)]
        rows += [f"  {x:<{width}} | {y}".rstrip() for x, y in zip_longest(*wrapped, fillvalue="")]
    return "\n".join(rows)
