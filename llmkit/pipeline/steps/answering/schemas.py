"""JSON schemas from a file, an entry point or a request: checked before use, then used to validate values.

A schema may come from an untrusted client. :func:`check_schema` refuses references that leave the schema, references
that lead back to themselves, regular expressions that the linear-time engine RE2 does not accept, and schemas that are
nested too deeply or too large. Validating a value has a budget of steps.
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

MAX_ERRORS = 10
"""How many errors of one value are reported."""
_BYTES, _DEPTH, _NODES, _STEPS = 1 << 16, 30, 4000, 5000
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_IN_PLACE = ("allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas")
_LISTS = ("allOf", "anyOf", "oneOf")


def read_schema(path: Path) -> dict[str, Any]:
    """Read the schema in a JSON file.

    Raises:
        ConfigError: the file cannot be read, or is no JSON object.
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


def load_pydantic_model(name: str) -> type[BaseModel]:
    """Import the pydantic model behind an entry point of the group ``llmkit.schemas``.

    Raises:
        ConfigError: no entry point has that name, it does not import, or it is no pydantic model.
    """
    from pydantic import BaseModel

    points = {point.name: point for point in entry_points(group="llmkit.schemas")}
    if name not in points:
        raise ConfigError(f"{unknown('pydantic model', name, sorted(points))}: entry points of group llmkit.schemas")
    try:
        model = points[name].load()
    except Exception as error:
        raise ConfigError(f"the pydantic model {name} ({points[name].value}) does not import: {error}") from error
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        raise ConfigError(f"the entry point {name} ({points[name].value}) is no pydantic model")
    return model


def check_schema(schema: Mapping[str, Any]) -> None:
    """Refuse what is no valid schema, and what could harm the process that validates with it.

    Raises:
        ConfigError: names the problem and its place in the schema.
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


def validation_errors(schema: Mapping[str, Any], value: Any) -> list[str]:
    """The first :data:`MAX_ERRORS` violations of the schema, each with its place in the value; empty: it is valid."""
    try:
        errors = islice(_validator(schema).iter_errors(value), MAX_ERRORS)
        return [f"At {error.json_path}: {error.message[:300]}" for error in errors]
    except DataError as error:
        return [str(error)]
    except (RecursionError, ArithmeticError) as error:
        return [f"The value cannot be checked against the schema: {type(error).__name__}"]


def read_json(text: str) -> Any:
    """Parse JSON strictly: NaN is refused, and so is a repeated key, of which one value would be lost.

    Raises:
        ValueError: the text is not JSON, or contains one of these.
    """
    return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_unique_keys)


def _check_node(schema: Mapping[str, Any], place: str, node: dict[str, Any]) -> None:
    with optional():
        import re2

    for word in _REFERENCES:
        if isinstance(node.get(word), str):
            if not node[word].startswith("#"):
                raise ConfigError(f"{place}.{word}: a reference must stay in the schema, not {node[word][:80]!r}")
            _resolve(schema, node[word], f"{place}.{word}")
    if place != "$" and isinstance(node.get("$id"), str):
        raise ConfigError(f"{place}.$id is not supported: a schema is one document")
    if isinstance(node.get("patternProperties"), dict):
        raise ConfigError(f"{place}.patternProperties is not supported: name the properties, or use propertyNames")
    if isinstance(node.get("pattern"), str):
        try:
            re2.compile(node["pattern"], _quiet_options())
        except re2.error as error:
            reason = error.args[0].decode() if error.args and isinstance(error.args[0], bytes) else str(error)
            raise ConfigError(f"{place}.pattern is no regular expression of linear time (RE2): {reason}") from error


def _check_loops(schema: Mapping[str, Any]) -> None:
    """Refuse references that form a loop, and references that unfold into too many parts (each doubling the last)."""
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
            costs[key] = 1 + sum(cost(inner) for inner in _same_value_schemas(schema, node))
            path.discard(key)
        return costs[key]

    for _, _, node in _nodes(schema):
        if cost(node) > _STEPS:
            raise ConfigError(f"references of the schema unfold into more than {_STEPS} parts")


def _same_value_schemas(schema: Mapping[str, Any], node: dict[str, Any]) -> Iterator[Any]:
    """The schemas that are applied to the same value as this one."""
    for word in _REFERENCES:
        if isinstance(node.get(word), str):
            yield _resolve(schema, node[word], word)
    for word in _IN_PLACE:
        inner = node.get(word)
        if word in _LISTS and isinstance(inner, list):
            yield from inner
        elif word == "dependentSchemas" and isinstance(inner, dict):
            yield from inner.values()
        elif isinstance(inner, dict):
            yield inner


def _resolve(schema: Mapping[str, Any], reference: str, place: str) -> Any:
    """The node that a reference points to: by a JSON pointer, or the whole schema for ``#``."""
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
        return  # the caller raises
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from _nodes(inner, f"{place}[{key}]" if isinstance(key, int) else f"{place}.{key}", depth + 1)


def _validator(schema: Mapping[str, Any]) -> Any:
    """A validator that fetches nothing, matches patterns in linear time, and stops at its budget of steps."""
    with optional():
        import re2
        from jsonschema import ValidationError
        from jsonschema.validators import extend, validator_for
    from referencing import Registry

    kind = validator_for(schema)
    steps = 0

    def count_reference(validator: Any, reference: Any, instance: Any, holder: Any) -> Iterator[Any]:
        nonlocal steps
        steps += 1
        if steps > _STEPS:
            raise DataError("The value is nested too deeply to be checked against the schema.")
        yield from kind.VALIDATORS["$ref"](validator, reference, instance, holder)

    def match_pattern(validator: Any, wanted: str, instance: Any, holder: Any) -> Iterator[Any]:
        if isinstance(instance, str) and not re2.search(wanted, instance, _quiet_options()):
            yield ValidationError(f"{instance[:80]!r} does not match {wanted[:80]!r}")

    validator: Any = extend(kind, {"$ref": count_reference, "pattern": match_pattern})  # type: ignore[no-untyped-call]
    registry: Registry[Any] = Registry()  # empty, and it fetches nothing
    return validator(schema, registry=registry)


def _quiet_options() -> Any:
    with optional():
        import re2

    options = re2.Options()
    options.log_errors = False
    return options


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in pairs:
        if key in values:
            raise ValueError(f"the key {key[:80]!r} appears twice in one object")
        values[key] = value
    return values
