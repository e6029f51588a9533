r"""Checks of how a response is laid out: its parts, marks, beginning and end.

Each takes the response (NFC, not empty, trimmed, ``\n`` between lines) and what the instruction asks for.
"""

from __future__ import annotations

import json
import re
from typing import NoReturn

from llmkit.tasks.ifeval.wording import folded

_DIVIDER = re.compile(r"(?<!\S)\*{3}(?!\S)")
_SIX_ASTERISKS = re.compile(r"(?<!\*)\*{6}(?!\*)")
_HIGHLIGHT = re.compile(r"(?<!\*)(\*{1,3})(?=[^\s*])([^*\n]*[^\s*])\1(?!\*)")
_BULLET = re.compile(r"^[ \t]*[*+-][ \t]+(?=.*\w)", re.MULTILINE)
_BRACKETS = re.compile(r"\[([^\[\]\n]+)\](?!\()")
_ANGLES = re.compile(r"<<([^<>\n]+)>>")
_FENCED = re.compile(r"```[ \t]*\w*[ \t]*\n?(.*?)\n?[ \t]*```", re.DOTALL)
_OPENING = r"^[ \t>#*_\"“'‘(\[-]*"
_CLOSING = ' \t\n*_`"”'
_OPTIONS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")


def paragraphs(response: str, number: int) -> bool:
    """Exactly so many paragraphs, with ``***`` between them (on a line of its own, or with white space around it).

    A divider before the first or after the last is forgiven; an empty paragraph between two dividers is not.
    """
    return _filled(_DIVIDER.split(response), number)


def two_responses(response: str) -> bool:
    """Exactly two responses that differ in more than case and white space, with six asterisks between them."""
    parts = _SIX_ASTERISKS.split(response)
    return _filled(parts, 2) and len({folded(part) for part in parts if part.strip()}) == 2


def bullets(response: str, number: int) -> bool:
    """Exactly so many lines that begin with Markdown's ``*``, ``-`` or ``+`` and a space, at any depth."""
    return len(_BULLET.findall(response.lstrip('"“'))) == number


def highlights(response: str, number: int) -> bool:
    """At least so many stretches within a line between asterisks: one, two (bold) or three of them on either side."""
    return sum(any(map(str.isalnum, found.group(2))) for found in _HIGHLIGHT.finditer(response)) >= number


def sections(response: str, marker: str, number: int) -> bool:
    """At least so many sections, each begun by a line that begins with the marker, as written, and its own X.

    X is a number, a Roman number or a capital letter; marks of Markdown and quotation marks may come before.
    """
    labels = rf"{_OPENING}{re.escape(marker)}[ \t]+(\d+|[IVXLC]+|[A-Z])(?!\w)"
    return len(set(re.findall(labels, response, re.MULTILINE))) >= number


def placeholders(response: str, number: int) -> bool:
    """At least so many ``[name of something]``: square brackets with a letter inside, links of Markdown not counted."""
    return sum(any(map(str.isalpha, inside)) for inside in _BRACKETS.findall(response)) >= number


def postscript(response: str, marker: str) -> bool:
    """The marker, in any case, begins something: white space or a mark stands before it and a word after it.

    "P. S." is as good as "P.S.", and what follows the postscript is not looked at.
    """
    pattern = re.escape("".join(marker.split())).replace(r"\.", r"\.\s?")
    first = re.escape(marker[0])
    after = r"(?!\w)" if marker[-1].isalnum() else ""
    return bool(re.search(rf"(?<![\w.])(?<!\b{first}\.\s){pattern}{after}\W*\w", response, re.IGNORECASE))


def title(response: str) -> bool:
    """A title in double angular brackets, ``<<a title>>``, on one line."""
    return any(any(map(str.isalnum, inside)) for inside in _ANGLES.findall(response))


def constrained(response: str) -> bool:
    """Holds exactly one of the three options, "My answer is yes.", "… no." and "… maybe.", as written."""
    return sum(option in response for option in _OPTIONS) == 1


def is_json(response: str) -> bool:
    """The whole response is one JSON object or array (RFC 8259: no NaN), in a Markdown code fence or without."""
    fenced = _FENCED.fullmatch(response)
    try:
        value = json.loads(fenced.group(1) if fenced else response, parse_constant=_refuse, parse_int=str)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict | list)


def repeats(response: str, prompt: str) -> bool:
    """Begins with the prompt, but for case and white space, and goes on with something of its own."""
    begins, rest = folded(prompt), folded(response)
    return rest.startswith(begins) and any(map(str.isalnum, rest[len(begins) :]))


def ends_with(response: str, phrase: str) -> bool:
    """Ends with the phrase, but for case and white space; only closing quotation marks and marks of Markdown follow."""
    ending, whole = folded(phrase), folded(response)
    if bare := ending.rstrip(_CLOSING):
        ending, whole = bare, whole.rstrip(_CLOSING)
    before = whole[: -len(ending)][-1:]
    return whole.endswith(ending) and not (before.isalnum() and ending[0].isalnum())


def quoted(response: str) -> bool:
    """Begins and ends with a double quotation mark, straight or curly, and has something between them."""
    wrapped = (response[0], response[-1]) in {('"', '"'), ("“", "”")}
    return wrapped and any(map(str.isalnum, response))


def _filled(parts: list[str], number: int) -> bool:
    inner = parts[1:-1]
    return all(part.strip() for part in inner) and sum(bool(part.strip()) for part in parts) == number


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
