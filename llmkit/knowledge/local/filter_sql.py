"""A filter as an SQL condition for SQLite, over c (chunks) and d (documents), with bound parameters."""

from __future__ import annotations

from typing import Any, TypeAlias

from llmkit.errors import ConfigError
from llmkit.knowledge.filters.expression import Compare, Every, Exists, Not, Scalar

Sql: TypeAlias = tuple[str, list[Any]]
_COLUMNS = {"page": "c.page", "part": "c.part", "title": "c.title", "document": "d.id"}


def compile_filter(where: object) -> Sql:
    """The condition and its parameters.

    Raises:
        ConfigError: not a filter made by :func:`llmkit.knowledge.filters.where.parse`.
    """
    match where:
        case Compare():
            return _compare(where)
        case Exists(field=field):
            source, parameters = _source(field)
            plain, path = _plain(field)
            some = f"EXISTS (SELECT 1 FROM {source} AS v WHERE v.type != 'null')"  # noqa: S608
            return f"(coalesce(NOT ({plain}), 0) OR {some})", [*path, *parameters]
        case Not(inner=inner):
            condition, parameters = compile_filter(inner)
            return f"NOT ({condition})", parameters
        case Every(inner=()):
            return ("0" if where.any else "1"), []
        case Every(inner=several):
            parts = [compile_filter(item) for item in several]
            joined = _joined([f"({condition})" for condition, _ in parts], " OR " if where.any else " AND ")
            return joined, [value for _, some_values in parts for value in some_values]
    raise ConfigError(f"{type(where).__name__} is not a filter: make one with llmkit.knowledge.filters.where.parse")


def _compare(where: Compare) -> Sql:
    if where.operator == "startswith":
        test, values = "substr(v.value, 1, ?) = ?", [len(str(where.value)), where.value]
    else:
        test, values = f"v.value {'=' if where.operator == '==' else where.operator} ?", [where.value]
    source, parameters = _source(where.field)
    plain, path = _plain(where.field)
    kinds = _kinds(where.value)
    condition = f"{plain} AND EXISTS (SELECT 1 FROM {source} AS v WHERE v.type IN ({kinds}) AND {test})"  # noqa: S608
    return f"coalesce({condition}, 0)", [*path, *parameters, *values]


def _joined(conditions: list[str], word: str) -> str:
    """Joined as a balanced tree: SQLite refuses one that is a thousand levels deep."""
    if len(conditions) <= 100:
        return word.join(conditions)
    middle = len(conditions) // 2
    return f"({_joined(conditions[:middle], word)}){word}({_joined(conditions[middle:], word)})"


def _source(field: str) -> Sql:
    """The values of a field as a table of (value, type): one row, or one for each item of a list."""
    if field == "access":
        return "json_each(d.access)", []
    column = _COLUMNS.get(field)
    if column is not None:
        return f"(SELECT {column} AS value, typeof({column}) AS type)", []
    return "json_each(d.metadata, ?)", [_path(field)]


def _plain(field: str) -> Sql:
    """True where the field is not an object: its members are not its values."""
    if field in _COLUMNS or field == "access":
        return "1", []
    return "json_type(d.metadata, ?) != 'object'", [_path(field)]


def _path(field: str) -> str:
    return "$" + "".join(f'."{key}"' for key in field.split("."))


def _kinds(value: Scalar) -> str:
    if isinstance(value, bool):
        return "'true', 'false'"
    return "'text'" if isinstance(value, str) else "'integer', 'real'"
