"""YAML to validated values. All problems of a file are reported, each with its line and an explanation.

Only plain mappings, lists and scalars are accepted. Tags, duplicate keys, anchors, aliases and merge keys are refused;
with aliases, a small file can expand to a huge one. ``${NAME}`` and ``${NAME:-default}`` are values of the environment.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError, create_model

from llmkit.errors import ConfigError, Problem, unknown
from llmkit.overrides import assign, kind_of
from llmkit.part import Part
from llmkit.registry import PartInvalid, one_of

Model = TypeVar("Model", bound=BaseModel)
Loc = tuple[str | int, ...]

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_MAX_BYTES = 1 << 20
_MAX_DEPTH = 40
_PLAIN = {f"tag:yaml.org,2002:{tag}" for tag in ("map", "seq", "str", "int", "float", "bool", "null", "timestamp")}


@dataclass(frozen=True)
class Config:
    """Values read from YAML, with the place of each in the file."""

    values: dict[str, Any]
    source: str = ""
    places: Mapping[Loc, tuple[int, int]] = field(default_factory=dict)
    """Line and column, from 1, of every value by its path."""

    def build(self, model: type[Model]) -> Model:
        """Validate the values as `model`.

        Raises:
            ConfigError: the values are invalid; each problem has its path, its line, and the nearest known names.
        """
        try:
            return model.model_validate(self.values)
        except ValidationError as error:
            raise ConfigError(self._sorted(_flatten(error, model, ())), self.source) from error

    def override(self, assignments: Sequence[str]) -> Config:
        """A copy with values set by dotted path.

        Args:
            assignments: ``path=value`` each; the value is read as YAML. A path goes through keys, list
                positions, or the ``type`` word or ``name`` of a list item that has it alone:
                ``steps.answer.prompt=answer@v2``.

        Raises:
            ConfigError: there is nothing at a path, or an assignment has no ``=``.
        """
        values = _copy(self.values)
        problems = []
        for assignment in assignments:
            path, equals, text = assignment.partition("=")
            try:
                if not equals or not path.strip():
                    raise ConfigError("expected path=value, as in steps.retrieve.k=20")
                assign(values, path.strip().split("."), _scalar(text))
            except ConfigError as error:
                problems += [Problem(f"--set {assignment}", problem.message) for problem in error.problems]
        if problems:
            raise ConfigError(problems, self.source)
        return Config(values, self.source, self.places)

    def _sorted(self, found: Iterator[tuple[Loc, str]]) -> list[Problem]:
        problems = []
        for loc, message in found:
            place = next((self.places[loc[:n]] for n in range(len(loc), -1, -1) if loc[:n] in self.places), None)
            line, column = place or (None, None)
            problems.append(Problem(dotted(loc), message, line, column))
        return sorted(problems, key=lambda problem: (problem.line or 0, problem.column or 0))


def read(path: Path) -> Config:
    """Read a YAML file.

    Raises:
        ConfigError: the file is unreadable, too large, not YAML, or not plain data.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ConfigError(f"larger than {_MAX_BYTES} bytes: not a configuration", str(path))
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot be read: {error}", str(path)) from error
    return parse(text, str(path))


def parse(text: str, source: str = "", *, variables: bool = True) -> Config:
    """Read YAML text; see :func:`read`. Without `variables`, ``${NAME}`` stays text, as untrusted files require."""
    places: dict[Loc, tuple[int, int]] = {}
    problems: list[Problem] = []
    try:
        depth = 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):  # before composing: aliases and depth cost nothing here
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _MAX_DEPTH + 1:
                line, column = _position(event.start_mark)
                raise ConfigError([Problem("", f"nested deeper than {_MAX_DEPTH} levels", line, column)], source)
            anchor = getattr(event, "anchor", None)
            if anchor:
                line, column = _position(event.start_mark)
                message = f"anchors and aliases (&, *) are not read: write the value out ({anchor})"
                raise ConfigError([Problem("", message, line, column)], source)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        values = {} if node is None else _construct(node, (), places, problems, variables)
    except yaml.MarkedYAMLError as error:
        line, column = _position(error.problem_mark or error.context_mark)
        message = " ".join(filter(None, (error.context, error.problem)))
        raise ConfigError([Problem("", f"not YAML: {message}", line, column)], source) from error
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"not YAML: {error}", source) from error
    if not problems and not isinstance(values, dict):
        problems.append(Problem("", f"expected a mapping of keys to values, got {kind_of(values)}", 1, 1))
    if problems:
        raise ConfigError(problems, source)
    return Config(values, source, places)


def build_part(family: str, value: object, called: str = "part") -> Part:
    """A part of `family` from its YAML form: a word, a mapping, or the text of a mapping.

    Args:
        family: family of the part, as in ``retriever``.
        value: ``"hybrid"``, ``{"type": "hybrid", "depth": 50}``, ``"{type: hybrid, depth: 50}"``, or a part.
        called: name of the parameter or option, for messages, as in ``--mode``.

    Raises:
        ConfigError: the value is invalid; the message has all problems.
    """
    if isinstance(value, str) and value.lstrip().startswith("{"):
        value = parse(f"{called}: {value}", called).values[called]
    holder = create_model("Holder", part=(Annotated[Any, one_of(family)], ...))
    try:
        part: Part = Config({"part": value}).build(holder).part  # type: ignore[attr-defined]
    except ConfigError as error:
        named = [replace(problem, path=called + problem.path.removeprefix("part")) for problem in error.problems]
        raise ConfigError(named) from error
    return part


def dotted(loc: Loc) -> str:
    """``("steps", 0, "k")`` as ``steps[0].k``."""
    text = ""
    for key in loc:
        text += f"[{key}]" if isinstance(key, int) else f".{key}" if text else str(key)
    return text


def _construct(
    node: yaml.Node, loc: Loc, places: dict[Loc, tuple[int, int]], problems: list[Problem], variables: bool
) -> Any:
    places[loc] = line, column = _position(node.start_mark)
    if len(loc) > _MAX_DEPTH:
        raise ConfigError([Problem(dotted(loc), f"nested deeper than {_MAX_DEPTH} levels", line, column)])
    if node.tag not in _PLAIN:
        problems.append(Problem(dotted(loc), f"the YAML tag {node.tag!r} is not read: plain values only", line, column))
        return None
    if isinstance(node, yaml.MappingNode):
        mapping: dict[str, Any] = {}
        first: dict[str, int] = {}
        for key_node, value_node in node.value:
            at = _position(key_node.start_mark)
            key = key_node.value
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag == "tag:yaml.org,2002:merge":
                problems.append(Problem(dotted(loc), "keys are plain words (no merge keys, no lists)", *at))
                continue
            if key in first:
                message = f"duplicate key {key!r}: first on line {first[key]}; keep one of them"
                problems.append(Problem(dotted((*loc, key)), message, *at))
                continue
            first[key] = at[0]
            mapping[key] = _construct(value_node, (*loc, key), places, problems, variables)
            places[(*loc, key)] = at
        return mapping
    if isinstance(node, yaml.SequenceNode):
        return [_construct(item, (*loc, i), places, problems, variables) for i, item in enumerate(node.value)]
    return _scalar_node(node, loc, problems, variables)


def _scalar_node(node: yaml.Node, loc: Loc, problems: list[Problem], variables: bool) -> Any:
    at = _position(node.start_mark)
    text = str(node.value)
    if variables and node.tag.endswith(":str") and "${" in text:
        try:
            expanded = _expand(text)
        except ConfigError as error:
            problems.append(Problem(dotted(loc), error.problems[0].message, *at))
            return None
        return _scalar(expanded) if _VARIABLE.fullmatch(text) and expanded else expanded
    if node.tag.endswith((":str", ":timestamp")):
        return text
    try:
        return yaml.safe_load(text)
    except (ValueError, yaml.YAMLError) as error:
        problems.append(Problem(dotted(loc), f"not a value: {error}", *at))
        return None


def _position(mark: Any) -> tuple[int, int]:
    return (mark.line + 1, mark.column + 1) if mark else (1, 1)


_VARIABLES = {
    "LLMKIT_DATA": (
        "set it to the folder that holds the public data sets, for example export LLMKIT_DATA=~/data; llmkit downloads "
        "no data sets, and the line `path` of each file in eval/tasks/ names the folder or file that a task reads in it"
    ),
}
"""What to set a variable of the shipped files to, where a default would not help."""


def _expand(text: str) -> str:
    def value(match: re.Match[str]) -> str:
        name, default = match.groups()
        found = os.environ.get(name) or default
        if found is None:
            advice = _VARIABLES.get(name, f"set it, or write ${{{name}:-default}}")
            raise ConfigError(f"the environment variable {name} is not set: {advice}")
        return found

    return _VARIABLE.sub(value, text)


def _scalar(text: str) -> Any:
    """A value given on the command line or by a variable, read as YAML without expansion."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        return text
    if node is None:
        return None if text.strip() else ""
    if isinstance(node, yaml.ScalarNode) and node.tag.endswith((":str", ":timestamp")):
        return str(node.value)
    return parse(f"value: {text}").values["value"]


def _flatten(error: ValidationError, model: type[BaseModel], prefix: Loc) -> Iterator[tuple[Loc, str]]:
    details = error.errors(include_url=False)
    for detail in details:
        here = detail["loc"]
        if detail["type"] == "too_short" and any(
            len(other["loc"]) > len(here) and other["loc"][: len(here)] == here for other in details
        ):
            continue  # pydantic counts only the valid items; the invalid ones are reported and are the real problem
        loc = (*prefix, *here)
        inner = detail.get("ctx", {}).get("error")
        if isinstance(inner, PartInvalid):
            yield from _flatten(inner.error, inner.part, loc)
        elif isinstance(inner, ConfigError):
            for problem in inner.problems:
                yield loc, f"{problem.path}  {problem.message}".strip() if problem.path else problem.message
        elif detail["type"] == "extra_forbidden":
            yield loc, unknown("key", str(detail["loc"][-1]), _fields(model, detail["loc"][:-1]))
        elif detail["type"] == "missing":
            yield loc, "is required"
        elif detail["type"] == "part_type" and detail.get("ctx", {}).get("key"):
            has_type = isinstance(detail["input"], dict) and "type" in detail["input"]
            yield (*loc, "type") if has_type else loc, detail["msg"]
        else:
            message = detail["msg"].removeprefix("Value error, ")
            message = message[:1].lower() + message[1:]
            if detail["type"] == "tuple_type":
                message = "input should be a list"  # what the YAML has in its place
            simple = isinstance(detail["input"], str | int | float | bool) and detail["type"] != "value_error"
            yield loc, f"{message}, got {detail['input']!r}" if simple else message


def _fields(model: type[BaseModel], loc: Sequence[str | int]) -> list[str]:
    """The known keys at `loc` inside `model`, through nested models."""
    here: Any = model
    for key in loc:
        found = here.model_fields.get(str(key)) if isinstance(here, type) and issubclass(here, BaseModel) else None
        if found is None:
            return []
        here = found.annotation
    return list(here.model_fields) if isinstance(here, type) and issubclass(here, BaseModel) else []


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value
