"""Strict parser of a critic's reply: a reply that does not follow the form is no critique."""

from __future__ import annotations

import re
from dataclasses import dataclass

_FORM = re.compile(
    r"\s*(?:SCORE:[ \t]*(?P<score>\d{1,3})(?:[ \t]*/[ \t]*10)?[ \t]*\n\s*)?"
    r"ACCEPT:[ \t]*(?P<accept>yes|no)\.?[ \t]*"
    r"(?:\n\s*FEEDBACK:(?P<feedback>.*))?",
    re.IGNORECASE | re.DOTALL,
)
_AGAIN = re.compile(r"^\s*(?:SCORE|ACCEPT|FEEDBACK):", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Critique:
    """What a critic says about a draft."""

    accept: bool
    """Whether the draft is good as it is, which stops the loop."""
    feedback: str = ""
    """What to change."""
    score: float | None = None
    """In [0, 1]; None where the critic gave none."""


def parse_critique(reply: str) -> Critique | None:
    """The critique in a reply, or None where the reply does not follow the form exactly.

    The form has up to three lines in this order, each once, with nothing before them: ``SCORE: 0 to 10`` (optional),
    ``ACCEPT: yes`` or ``ACCEPT: no``, and ``FEEDBACK: …`` (required after a no).
    """
    form = _FORM.fullmatch(reply.strip())
    if form is None:
        return None
    feedback = (form["feedback"] or "").strip()
    accept = form["accept"].lower() == "yes"
    score = None if form["score"] is None else int(form["score"])
    if (score is not None and score > 10) or (not accept and not feedback) or _AGAIN.search(feedback):
        return None
    return Critique(accept, feedback, None if score is None else score / 10)
