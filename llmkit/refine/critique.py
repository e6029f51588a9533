"""A critic's reply, read strictly: a form filled in as asked for, or no critique at all."""

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
    """What a critic says of a draft."""

    accept: bool
    """Nothing is to be mended: the stop signal."""
    feedback: str = ""
    score: float | None = None
    """In [0, 1], where the critic gave one."""


def parse(reply: str) -> Critique | None:
    """The critique of a reply; None where it does not follow the form to the letter.

    The form is ``SCORE: 0 to 10`` (may be left out), ``ACCEPT: yes`` or ``no``, ``FEEDBACK: …`` (needed after a no),
    each once, on lines of their own, and nothing before them.
    """
    found = _FORM.fullmatch(reply.strip())
    if found is None:
        return None
    feedback = (found["feedback"] or "").strip()
    accept = found["accept"].lower() == "yes"
    score = None if found["score"] is None else int(found["score"])
    if (score is not None and score > 10) or (not accept and not feedback) or _AGAIN.search(feedback):
        return None
    return Critique(accept, feedback, None if score is None else score / 10)
