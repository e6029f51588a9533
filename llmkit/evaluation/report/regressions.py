"""Flipped samples in the report: how many, in which groups, and both ways side by side."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from html import escape

from llmkit.evaluation.analysis.regressions import Flip, Flips, Side

SHOWN = 100
"""Flips of a pair of runs that the page shows side by side; it says so where there are more."""
_GROUPS = (
    ("cause", "What was different"), ("kind", "Kind of question"), ("stage", "Stage to blame"), ("document", "Document")
)  # fmt: skip
_MOST = 12  # groups of a kind


def section(found: Flips) -> str:
    """HTML of one pair of runs; everything from data is escaped."""
    head = (
        f"<h2>Flipped: {escape(found.b)} against {escape(found.a)}</h2>"
        f"<p>On {escape(found.metric)}, {found.count('won')} samples were won and {found.count('lost')} lost, of "
        f"{found.samples}. What was different is read off the traces; that it was the reason is not shown by that.</p>"
    )
    if not found.found:
        return f"<section>{head}</section>"
    groups = "".join(_groups(found, what, title) for what, title in _GROUPS)
    more = len(found.found) - SHOWN
    left = f'<p class="bad">{more} more are not on this page.</p>' if more > 0 else ""
    return f"<section>{head}{groups}{''.join(map(_one, found.found[:SHOWN]))}{left}</section>"


def side_by_side(one: Flip) -> Iterator[str]:
    """Lines of a difference between the two prompts; of what both say, the neighbourhood only."""
    texts = [
        [f"{role}: {line}" for role, text in side.messages for line in text.splitlines()] for side in (one.a, one.b)
    ]
    yield from difflib.unified_diff(texts[0], texts[1], "before", "now", lineterm="", n=1)


def _groups(found: Flips, what: str, title: str) -> str:
    rows = found.by(what)
    if len(rows) < 2 and rows[0][0] in ("none", "not blamed", "other"):
        return ""
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{won}</td><td>{lost}</td></tr>' for name, won, lost in rows[:_MOST]
    )
    more = f'<p class="soft">and {len(rows) - _MOST} more</p>' if len(rows) > _MOST else ""
    head = f'<tr><th scope="col">{title}</th><th scope="col">won</th><th scope="col">lost</th></tr>'
    return f'<div class="wide"><table>{head}{body}</table></div>{more}'


def _one(one: Flip) -> str:
    gold = escape(" · ".join(one.answers)) or "none given"
    changed = "\n".join(side_by_side(one)) if one.cause in ("prompt", "reply", "checks") else ""
    prompt = f"<h4>Prompts</h4><pre>{escape(changed)}</pre>" if changed else ""
    title = f"{one.outcome} · {escape(one.cause)} · {escape(one.id)} · {escape(one.question[:160])}"
    return (
        f"<details><summary>{title}</summary>"
        f"<p>{escape(one.question)}</p><p>Right: {gold}</p>"
        f'<div class="pair">{_column("Before", one.a, one.b)}{_column("Now", one.b, one.a)}</div>{prompt}</details>'
    )


def _column(title: str, side: Side, other: Side) -> str:
    there = {name for name, _, _ in other.passages}
    score = "-" if side.score is None else f"{side.score:.3f}"
    reply = (
        f'<p class="bad">{escape(side.error)}</p>' if side.error else f"<blockquote>{escape(side.said)}</blockquote>"
    )
    stage = f'<p class="soft">Stage to blame: {escape(side.stage)}</p>' if side.stage else ""
    return f"<div><h4>{title}, score {score}</h4>{reply}{stage}{_passages(side.passages, there)}{_prompt(side)}</div>"


def _passages(passages: Sequence[tuple[str, str, bool]], there: set[str]) -> str:
    return "".join(
        f'<p class="soft">({n}) {escape(name)}{", holds the answer" if right else ""}'
        f"{'' if name in there else ', only here'}</p><blockquote>{escape(text)}</blockquote>"
        for n, (name, text, right) in enumerate(passages[:20], 1)
    )


def _prompt(side: Side) -> str:
    if not side.messages:
        return ""
    messages = "".join(f'<p class="soft">{escape(role)}</p><pre>{escape(text)}</pre>' for role, text in side.messages)
    return f"<details><summary>Prompt</summary>{messages}</details>"
