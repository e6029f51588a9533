"""One small language to say which passages may be found.

A filter is written as text ``type == "pdf" and page >= 3 and not (lang in ["en", "de"])`` or as a mapping
``{type: pdf, page: {">=": 3}, not: {lang: [en, de]}}``. It is parsed once into frozen values; the store compiles these
and runs them inside the search. Logic has two values: a comparison with a field that is missing, or of another kind, is
false, and `not` of it is true. A list in the metadata equals a value that it holds.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from llmkit.errors import ConfigError, unknown
from llmkit.types import Chunk, Json

SYNONYMS = {"prefix": "startswith", "and": "all", "or": "any"}
Operator = Literal["==", "<", "<=", ">", ">=", "startswith"]
Scalar: TypeAlias = str | int | float | bool

CHUNK_FIELDS = ("page", "part", "title", "document")
"""Fields of every chunk; other names are looked up in the metadata."""
MAX_DEPTH = 40
OPERATORS = ("==", "!=", "<", "<=", ">", ">=", "in", "startswith", "prefix")


@dataclass(frozen=True, slots=True)
class Compare:
    """``field operator value``."""

    field: str
    operator: Operator
    value: Scalar

    def matches(self, chunk: Chunk) -> bool:
        """Whether the chunk passes."""
        return any(_compare(found, self.operator, self.value) for found in _values(chunk, self.field))

    def __str__(self) -> str:
        return f"{self.field} {self.operator} {_written(self.value)}"


@dataclass(frozen=True, slots=True)
class Exists:
    """The field is there and not null."""

    field: str

    def matches(self, chunk: Chunk) -> bool:
        """Whether the chunk passes."""
        return any(found is not None for found in _values(chunk, self.field))

    def __str__(self) -> str:
        return f"exists {self.field}"


@dataclass(frozen=True, slots=True)
class Not:
    """What the inner filter refuses."""

    inner: Filter

    def matches(self, chunk: Chunk) -> bool:
        """Whether the chunk passes."""
        return not self.inner.matches(chunk)

    def __str__(self) -> str:
        return f"not ({self.inner})"


@dataclass(frozen=True, slots=True)
class Every:
    """All of the inner filters, or with ``any`` one of them. None at all: true for all, false for any."""

    inner: tuple[Filter, ...]
    any: bool = False

    def matches(self, chunk: Chunk) -> bool:
        """Whether the chunk passes."""
        passed = (item.matches(chunk) for item in self.inner)
        return any(passed) if self.any else all(passed)

    def __str__(self) -> str:
        return (" or " if self.any else " and ").join(f"({item})" for item in self.inner) or str(not self.any).lower()


Filter: TypeAlias = Compare | Exists | Not | Every


def operation(field: str, operator: str, value: Any) -> Filter:
    """One comparison, checked; ``!=`` and ``in`` are written in terms of ``==``.

    Raises:
        ConfigError: an unknown operator, or a value it cannot take.
    """
    if '"' in field or "\\" in field or not field:
        raise ConfigError(f"{field!r} cannot be the name of a field")
    if field == "date" and isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if operator not in OPERATORS:
        raise ConfigError(unknown(f"operator on {field!r}", operator, OPERATORS))
    operator = SYNONYMS.get(operator, operator)
    if operator == "in":
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{field} in … takes a list")
        return Every(tuple(operation(field, "==", item) for item in value), any=True)
    if not isinstance(value, str | int | float | bool):
        raise ConfigError(f"{field} {operator} … takes a text, a number, true or false, not {value!r}")
    if not (-(2**63) <= value < 2**63 if isinstance(value, int) else isinstance(value, str) or math.isfinite(value)):
        raise ConfigError(f"{field} takes whole numbers of 64 bits and finite ones with a point, not {value!r}")
    if operator == "startswith" and not isinstance(value, str):
        raise ConfigError(f"{field} startswith … takes a text, not {value!r}")
    if field == "date" and isinstance(value, str) and re.fullmatch(r"\d{4}(-\d\d){0,2}", value):
        return _within(field, operator, value)
    if operator == "!=":
        return Not(Compare(field, "==", value))
    return Compare(field, operator, value)  # type: ignore[arg-type]


def _within(field: str, operator: str, period: str) -> Filter:
    """A comparison with a year, a month or a day, each of which holds all the dates in it."""
    inside = Compare(field, "startswith", period)
    if operator in ("==", "!="):
        return inside if operator == "==" else Not(inside)
    if operator == "<=":
        return Every((Compare(field, "<", period), inside), any=True)
    if operator == ">":
        return Every((Compare(field, ">", period), Not(inside)))
    return Compare(field, operator, period)  # type: ignore[arg-type]


def _values(chunk: Chunk, field: str) -> list[Json]:
    if field in CHUNK_FIELDS:
        return [chunk.document if field == "document" else getattr(chunk, field)]
    if field == "access":
        return list(chunk.access)
    here: Any = dict(chunk.metadata)
    for key in field.split("."):
        if not isinstance(here, Mapping) or key not in here:
            return []
        here = here[key]
    return list(here) if isinstance(here, list) else [here]


def _compare(found: Json, operator: Operator, value: Scalar) -> bool:
    if isinstance(value, bool) or isinstance(found, bool):
        same_kind = isinstance(value, bool) and isinstance(found, bool)
    elif isinstance(value, str):
        same_kind = isinstance(found, str)
    else:
        same_kind = isinstance(found, int | float)
    if not same_kind:
        return False
    known: Any = found
    if operator == "startswith":
        return str(known).startswith(str(value))
    return bool(
        {
            "==": known == value,
            "<": known < value,
            "<=": known <= value,
            ">": known > value,
            ">=": known >= value,
        }[operator]
    )


def _written(value: Scalar) -> str:
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return str(value).lower() if isinstance(value, bool) else str(value)
