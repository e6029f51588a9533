"""A filter from what callers and YAML write: text, a mapping, or a filter itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, SkipValidation, WithJsonSchema

from llmkit.errors import ConfigError
from llmkit.knowledge.filters.expression import (
    MAX_DEPTH,
    SYNONYMS,
    Compare,
    Every,
    Exists,
    Filter,
    Not,
    operation,
)
from llmkit.knowledge.filters.parser import parse_text
from llmkit.protocols import Where as Where


def parse(value: str | Mapping[str, Any]) -> Filter:
    """A filter from its text or its mapping.

    Raises:
        ConfigError: says where, and what was expected.
    """
    if isinstance(value, str):
        return parse_text(value)
    if isinstance(value, Mapping):
        return _from_mapping(value, 0)
    raise ConfigError(f"a filter is text or a mapping, not {type(value).__name__}")


def as_filter(where: Where) -> Filter | None:
    """A filter from any form a caller may write: text, a mapping, a filter; None and empty text mean no filter.

    Raises:
        ConfigError: says where the text is wrong, and what was expected.
    """
    if where is None or isinstance(where, Compare | Exists | Not | Every):
        return where
    if isinstance(where, str) and not where.strip():
        return None
    return parse(where)  # type: ignore[arg-type]  # what is neither is refused by name


def _validated(value: object) -> Filter:
    if isinstance(value, Compare | Exists | Not | Every):
        return value
    try:
        return parse(value)  # type: ignore[arg-type]
    except ConfigError as error:
        raise ValueError(str(error)) from error


WhereField = Annotated[
    SkipValidation[Filter],
    BeforeValidator(_validated),
    PlainSerializer(str),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "object"}]}),
]
"""A pydantic field that holds a filter, written as text or as a mapping."""


def _from_mapping(mapping: Mapping[str, Any], depth: int) -> Filter:
    if depth > MAX_DEPTH:
        raise ConfigError(f"the filter is nested deeper than {MAX_DEPTH} levels")
    parts: list[Filter] = []
    for given, value in mapping.items():
        key = SYNONYMS.get(given, given) if isinstance(value, list) else given
        if key in ("all", "any"):
            if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
                raise ConfigError(f"{key!r} takes a list of mappings")
            parts.append(Every(tuple(_from_mapping(item, depth + 1) for item in value), any=key == "any"))
        elif key == "not":
            if not isinstance(value, Mapping):
                raise ConfigError("'not' takes a mapping")
            parts.append(Not(_from_mapping(value, depth + 1)))
        elif key == "exists":
            parts += [Exists(name) for name in ([value] if isinstance(value, str) else list(value))]
        elif isinstance(value, Mapping):
            parts += [operation(key, operator, operand) for operator, operand in value.items()]
        else:
            parts.append(operation(key, "in" if isinstance(value, list) else "==", value))
    return parts[0] if len(parts) == 1 else Every(tuple(parts))
