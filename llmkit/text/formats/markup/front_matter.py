"""The front matter of a Markdown file: YAML between lines of ``---`` at its beginning, read as plain data."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, replace

from llmkit.config import parse
from llmkit.errors import ConfigError
from llmkit.text.formats.draft import Draft
from llmkit.types import Json

_FRONT = re.compile(r"(?:[ \t]*\r?\n)*---[ \t]*\r?\n(.*?)(?<=\n)(?:---|\.\.\.)[ \t]*(?:\r?\n|\Z)", re.S)
_TEXTS = ("title", "date", "author", "description", "lang", "language")  # `lang: no` is Norwegian
_OWN = ("path", "type")  # a document's metadata says these of its file
_FIELD = re.compile(rf"^({'|'.join((*_TEXTS, 'tags'))})[ \t]*:(.*)$", re.M | re.I)
_ACCESS = re.compile(r"^[ \t-]*[\"']?access[\"']?[ \t]*:(.*)$((?:\n[ \t]*-[ \t].*$)*)", re.M | re.I)
_KEY = re.compile(r"^[ \t]*[\"']?\w[\w-]*(?: [\w-]+)*[\"']?[ \t]*:", re.M)
_MOST = 64 * 1024  # characters: what the parser, which is pure Python, reads in about a second


@dataclass(frozen=True, slots=True)
class FrontMatter:
    """What stands at the beginning of a Markdown file."""

    end: int
    """Where the text begins."""
    data: bool
    """It is YAML and all of it is in `fields`; else known lines were read one by one, and it stays part of the text."""
    fields: dict[str, Json] = field(default_factory=dict)
    access: tuple[Json, ...] = ()
    """Every value of a key ``access``; an empty one is an empty text, which is no label."""
    note: str = ""


def find(text: str) -> FrontMatter | None:
    """The front matter of `text`; blank lines may stand before it."""
    match = _FRONT.match(text)
    if not match:
        return None
    inner = match[1].replace("\r\n", "\n")
    try:
        if len(inner) > _MOST:
            raise ConfigError(f"longer than {_MOST:,} characters")
        values: dict[str, Json] = parse(inner, variables=False).values
    except ConfigError as error:
        problem = error.problems[0]
        if problem.line is not None:
            problem = replace(problem, line=problem.line + text.count("\n", 0, match.start(1)))
        return _by_lines(inner, match.end(), str(problem))
    written = _lines(inner)
    fields: dict[str, Json] = {}
    access: list[Json] = []
    for key, value in values.items():
        name = key.lower() if key.lower() in (*_TEXTS, "tags") else key
        if key.strip().lower() == "access":
            access.append(value or "")
        elif name in _TEXTS and isinstance(value, bool | int | float):
            fields.setdefault(name, written.get(name, str(value)))
        else:
            fields.setdefault(name, _finite(value))
    taken = [key for key in _OWN if key in fields]
    note = f"front matter: {' and '.join(taken)} left out: metadata has them of the file" if taken else ""
    kept = {key: value for key, value in fields.items() if key not in _OWN}
    return FrontMatter(match.end(), True, kept, tuple(access), note)


def put(front: FrontMatter, draft: Draft) -> None:
    """Its values as the draft's title, metadata, access and notes."""
    fields = dict(front.fields)
    title = fields.pop("title", None)
    if title is not None:
        draft.title = draft.title or str(title)
    for key, value in fields.items():
        draft.metadata.setdefault(key, value)
    for said in front.access:
        draft.limit_access(said)
    if front.note:
        draft.note(front.note)


def _by_lines(inner: str, end: int, why: str) -> FrontMatter:
    access: list[Json] = []
    for inline, items in _ACCESS.findall(inner):
        listed = [line.strip(" \t-") for line in items.split("\n")[1:]]
        access.append(", ".join([inline.strip(), *listed] if inline.strip() else listed))
    note = ""
    if _KEY.search(inner):  # else it is text between two rules
        note = f"front matter is not plain YAML ({why}): only title, date, author and the like were read, line by line"
    return FrontMatter(end, False, dict(_lines(inner)), tuple(access), note)


def _lines(inner: str) -> dict[str, str]:
    """Known fields as they are written."""
    found: dict[str, str] = {}
    for key, value in _FIELD.findall(inner):
        plain = re.split(r"[ \t]#", value)[0].strip().strip("\"'")
        if plain:
            found[key.lower()] = plain
    return found


def _finite(value: Json) -> Json:
    """The value with what JSON has no number for (``.nan``, ``.inf``, integers beyond 64 bits) as texts."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return str(value) if value.bit_length() < 4096 else "a number too large"
    return value
