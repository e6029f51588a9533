"""JSON schemas from a file, an entry point or a stranger: checked before they are used, and values checked by them.

A schema is data like any other. What could reach out, hang or exhaust is refused: references to anywhere but into the
schema itself, references that lead back to themselves without reading anything, regular expressions that a linear-time
engine (RE2) does not take, nesting and size beyond any form; and checking a value has a budget.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import unquote

from llmkit.errors import ConfigError, DataError, unknown
from llmkit.extras import optional

if TYPE_CHECKING:
    from pydantic import BaseModel

MOST = 10
"""Problems of a value that are told at a time."""
_BYTES, _DEPTH, _NODES, _STEPS = 1 << 16, 30, 4000, 5000
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_IN_PLACE = ("allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas")
_LISTS = ("allOf", "anyOf", "oneOf")


def read_schema(path: Path) -> dict[str, Any]:
    """The schema in a JSON file.

    Raises:
        ConfigError: it cannot be read, or is no JSON object.
    """
    try:
        if path.stat().st_size > _BYTES:
            raise ConfigError(f"the schema {path} is larger than {_BYTES} bytes")
        value = read_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"the schema {path} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise ConfigError(f"the schema {path} is no JSON object")
    return value


def model_named(name: str) -> type[BaseModel]:
    """The pydantic model behind an entry point of the group ``llmkit.schemas``.

    Raises:
        ConfigError: there is none of that name, it does not import, or it is no pydantic model.
    """
    from pydantic import BaseModel

    points = {point.name: point for point in entry_points(group="llmkit.schemas")}
    if name not in points:
        raise ConfigError(f"{unknown('pydantic model', name, sorted(points))}: entry points of group llmkit.schemas")
    try:
        found = points[name].load()
    except Exception as error:
        raise ConfigError(f"the pydantic model {name} ({points[name].value}) does not import: {error}") from error
    if not (isinstance(found, type) and issubclass(found, BaseModel)):
        raise ConfigError(f"the entry point {name} ({points[name].value}) is no pydantic model")
    return found


def check_schema(schema: Mapping[str, Any]) -> None:
    """Refuse what is no schema, and what is one to do harm.

    Raises:
        ConfigError: says what and where.
    """
    with optional():
        from jsonschema.exceptions import SchemaError
        from jsonschema.validators import validator_for

    for count, (place, depth, node) in enumerate(_nodes(schema)):
        if depth > _DEPTH or count > _NODES:
            raise ConfigError(f"the schema is nested deeper than {_DEPTH} levels or has more than {_NODES} parts")
        if isinstance(node, dict):
            _check_node(schema, place, node)
    try:
        validator_for(schema).check_schema(dict(schema))
    except SchemaError as error:
        raise ConfigError(f"not a JSON schema: {error.json_path}: {error.message[:300]}") from error
    _check_loops(schema)


def problems(schema: Mapping[str, Any], value: Any) -> list[str]:
    """What of a value is not as the schema has it, each with its place, the first few; empty: nothing."""
    try:
        found = islice(_validator(schema).iter_errors(value), MOST)
        return [f"At {error.json_path}: {error.message[:300]}" for error in found]
    except DataError as error:
        return [str(error)]
    except (RecursionError, ArithmeticError) as error:
        return [f"It cannot be checked against the schema: {type(error).__name__}"]


def read_json(text: str) -> Any:
    """A JSON value, read strictly: no NaN, no key twice, of which one would be lost.

    Raises:
        ValueError: it is not JSON, or one of those.
    """
    return json.loads(text, parse_constant=_refuse, object_pairs_hook=_once)


def _check_node(schema: Mapping[str, Any], place: str, node: dict[str, Any]) -> None:
    with optional():
        import re2

    for word in _REFERENCES:
        if isinstance(node.get(word), str):
            if not node[word].startswith("#"):
                raise ConfigError(f"{place}.{word}: references lead into the schema itself, not to {node[word][:80]!r}")
            _resolved(schema, node[word], f"{place}.{word}")
    if place != "$" and isinstance(node.get("$id"), str):
        raise ConfigError(f"{place}.$id is not taken: a schema is one document")
    if isinstance(node.get("patternProperties"), dict):
        raise ConfigError(f"{place}.patternProperties is not taken: name the properties, or use propertyNames")
    if isinstance(node.get("pattern"), str):
        try:
            re2.compile(node["pattern"], _quiet())
        except re2.error as error:
            told = error.args[0].decode() if error.args and isinstance(error.args[0], bytes) else str(error)
            raise ConfigError(f"{place}.pattern is no regular expression of linear time (RE2): {told}") from error


def _check_loops(schema: Mapping[str, Any]) -> None:
    """Refuse schemas that would be applied to one value without end, or too often (references that double)."""
    costs: dict[int, int] = {}
    path: set[int] = set()

    def cost(node: Any) -> int:
        if not isinstance(node, dict):
            return 1
        key = id(node)
        if key in path:
            raise ConfigError("a reference of the schema leads back to itself: no value could ever be checked")
        if key not in costs:
            path.add(key)
            costs[key] = 1 + sum(cost(inner) for inner in _in_place(schema, node))
            path.discard(key)
        return costs[key]

    for _, _, node in _nodes(schema):
        if cost(node) > _STEPS:
            raise ConfigError(f"references of the schema unfold into more than {_STEPS} parts")


def _in_place(schema: Mapping[str, Any], node: dict[str, Any]) -> Iterator[Any]:
    """Schemas that are applied to the same value as this one."""
    for word in _REFERENCES:
        if isinstance(node.get(word), str):
            yield _resolved(schema, node[word], word)
    for word in _IN_PLACE:
        inner = node.get(word)
        if word in _LISTS and isinstance(inner, list):
            yield from inner
        elif word == "dependentSchemas" and isinstance(inner, dict):
            yield from inner.values()
        elif isinstance(inner, dict):
            yield inner


def _resolved(schema: Mapping[str, Any], reference: str, place: str) -> Any:
    """What a reference into the schema leads to: a JSON pointer, or the whole."""
    node: Any = schema
    for step in reference.removeprefix("#").split("/")[1:]:
        key = unquote(step).replace("~1", "/").replace("~0", "~")
        if isinstance(node, dict) and key in node:
            node = node[key]
        elif isinstance(node, list) and key.isdigit() and int(key) < len(node):
            node = node[int(key)]
        else:
            raise ConfigError(f"{place}: {reference[:80]!r} leads to nothing in the schema")
    if reference not in ("#", "") and not reference.startswith("#/"):
        raise ConfigError(f"{place}: references are JSON pointers, as in #/$defs/address, not {reference[:80]!r}")
    return node


def _nodes(value: Any, place: str = "$", depth: int = 0) -> Iterator[tuple[str, int, Any]]:
    yield place, depth, value
    if depth > _DEPTH:
        return  # told by the caller
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from _nodes(inner, f"{place}[{key}]" if isinstance(key, int) else f"{place}.{key}", depth + 1)


def _validator(schema: Mapping[str, Any]) -> Any:
    """A validator that fetches nothing, matches in linear time and gives up in time."""
    with optional():
        import re2
        from jsonschema import ValidationError
        from jsonschema.validators import extend, validator_for
    from referencing import Registry

    kind = validator_for(schema)
    steps = 0

    def counted(validator: Any, reference: Any, instance: Any, holder: Any) -> Iterator[Any]:
        nonlocal steps
        steps += 1
        if steps > _STEPS:
            raise DataError("It is nested too deeply to be checked against the schema.")
        yield from kind.VALIDATORS["$ref"](validator, reference, instance, holder)

    def pattern(validator: Any, wanted: str, instance: Any, holder: Any) -> Iterator[Any]:
        if isinstance(instance, str) and not re2.search(wanted, instance, _quiet()):
            yield ValidationError(f"{instance[:80]!r} does not match {wanted[:80]!r}")

    made: Any = extend(kind, {"$ref": counted, "pattern": pattern})  # type: ignore[no-untyped-call]
    registry: Registry[Any] = Registry()  # knows nothing and fetches nothing
    return made(schema, registry=registry)


def _quiet() -> Any:
    with optional():
        import re2

    options = re2.Options()
    options.log_errors = False
    return options


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key[:80]!r} stands there twice")
        found[key] = value
    return found
