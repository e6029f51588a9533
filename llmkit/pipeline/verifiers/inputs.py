"""What a verifier needs beside the draft, taken from what came with the question."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmkit.errors import DataError
from llmkit.types import State


def texts(state: State, name: str) -> list[str]:
    """The input of that name as a list of texts.

    Raises:
        DataError: it did not come with the question, or is something else.
    """
    value = _input(state, name)
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list) or not value or not all(isinstance(item, str) for item in value):
        raise DataError(f"the input {name!r} must be a list of texts that is not empty")
    return [str(item) for item in value]


def checks(state: State, name: str) -> list[Mapping[str, Any]]:
    """The input of that name as a list of ``{"name", "arguments"}``.

    Raises:
        DataError: it did not come with the question, or is something else.
    """
    value = _input(state, name)
    if not isinstance(value, list) or not value:
        raise DataError(f"the input {name!r} must be a list that is not empty")
    found: list[Mapping[str, Any]] = []
    for item in value:
        if not isinstance(item, dict) or not isinstance(item.get("name"), str):
            raise DataError(f"the input {name!r}: each must be an object with 'name' and 'arguments'")
        arguments = item.get("arguments") or {}
        if not isinstance(arguments, dict):
            raise DataError(f"the input {name!r}: the arguments of {item['name']} must be an object")
        found.append({"name": item["name"], "arguments": arguments})
    return found


def _input(state: State, name: str) -> Any:
    if name not in state.inputs:
        had = ", ".join(map(repr, state.inputs)) or "none"
        raise DataError(
            f"the question came without the input {name!r} (it has {had}): name the column in the task's `inputs`, or "
            f"give --input {name}=…, in Python run(…, inputs={{{name!r}: …}})"
        )
    return state.inputs[name]
