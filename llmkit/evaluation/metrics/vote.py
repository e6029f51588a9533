"""Reading a judge's reply as a vote for one of two lettered choices, or as none.

A vote is a letter alone (`B`, `(B)`, `**B**.`), a letter in one of a few fixed phrases (`Answer: B`, `I choose B`), or
JSON with a letter (`{"letter": "B"}`). An explanation may follow behind a stop, a colon, a comma, a bracket, a new line
or `because`. Everything else is prose and casts no vote: an article (`A careful look …`), a question, both letters, an
explanation that begins by taking the vote back, or that names the other letter without a `since` or a `would`.
"""

from __future__ import annotations

import json
import re
from typing import Literal

Letter = Literal["A", "B"]

_REASONING = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL | re.IGNORECASE)
_CODE = re.compile(r"\A```(?:json)?\s*(.*?)\s*```\Z", re.DOTALL)
_OPEN, _CLOSE = r"[\s*_`\"'“‘(\[]*", r"[*_`\"'”’)\]]*"
_PHRASE = (
    r"(?:(?:the|my)\s+)?(?:(?:final|correct|right|best)\s+)?(?:answer|letter|choice|option|verdict|vote)"
    r"(?:\s+is|\s*[:=])?[\s*_]*(?:option\s+|letter\s+|choice\s+)?"
    r"|i\s+(?:would\s+)?(?:choose|pick|select|vote\s+for|vote|go\s+with)\s+(?:(?:option|letter|choice|answer)\s+)?"
)
_REST = r"\Z|[.:,;!](?=\s|\Z|[*_]).*|(?<=[)\]])\s.*|\s*\n.*|\s+[-–—]\s.*|\s+because\b.*"
_ALONE = re.compile(rf"{_OPEN}([ABab]){_CLOSE}[.!]?{_CLOSE}\Z")
_VOTE = re.compile(rf"{_OPEN}(?i:{_PHRASE})?{_OPEN}([AB]){_CLOSE}(?P<rest>{_REST})", re.DOTALL)
_TAKEN_BACK = re.compile(
    r"[\W_]*(?:no(?=\s*[,.!])|not|nor|or|and|wrong|incorrect|false|wait|maybe|perhaps|but|however|actually|both|neither|"
    r"unsure|on\s+(?:second|reflection))\b",
    re.IGNORECASE,
)
_CAUSE = re.compile(r"[\W_]*(?:since|because|as)\b", re.IGNORECASE)
_KEYS = ("letter", "answer", "choice", "verdict", "vote")


def read_vote(reply: str) -> Letter | None:
    """The letter a reply votes for; None where it casts no vote that can be read."""
    text = _REASONING.sub("", reply).strip()
    fenced = _CODE.match(text)
    text = fenced.group(1) if fenced else text
    if text.startswith("{"):
        return _read_json(text)
    if alone := _ALONE.match(text):
        return _letter(alone.group(1).upper())
    vote = _VOTE.match(text)
    if vote is None:
        return None
    letter, rest = _letter(vote.group(1)), vote.group("rest")
    other = "B" if letter == "A" else "A"
    named = re.search(rf"(?<![\w'’-]){other}(?![\w'’])(?!\s+(?:would|could|might)\b)", rest)
    if _TAKEN_BACK.match(rest) or (named and not _CAUSE.match(rest)):
        return None
    return letter


def _read_json(text: str) -> Letter | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    votes = {value[key] for key in _KEYS if isinstance(value.get(key), str)} if isinstance(value, dict) else set()
    return _letter(next(iter(votes)).strip()) if len(votes) == 1 else None


def _letter(text: str) -> Letter | None:
    return "A" if text == "A" else "B" if text == "B" else None
