"""Reads the inputs of a question that a verifier needs besides the draft."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmkit.errors import DataError
from llmkit.types import State


def texts(state: State, name: str) -> list[str]:
    """An input as a list of texts.

    Raises:
        DataError: the input is missing, empty, or not a list of texts.
    """
    value = _input(state, name)
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list) or not value or not all(isinstance(item, str) for item in value):
        raise DataError(f"the input {name!r} must be a list of texts that is not empty")
    return [str(item) for item in value]


def checks(state: State, name: str) -> list[Mapping[str, Any]]:
    """An input as a list of ``{"name", "arguments"}``.

    Raises:
        DataError: the input is missing, empty, or has another form.
    """
    value = _input(state, name)
    if not isinstance(value, list) or not value:
        raise DataError(f"the input {name!r} must be a list that is not empty")
    rows: list[Mapping[str, Any]] = []
    for item in value:
        if not isinstance(item, dict) or not isinstance(item.get("name"), str):
            raise DataError(f"the input {name!r}: each must be an object with 'name' and 'arguments'")
        arguments = item.get("arguments") or {}
        if not isinstance(arguments, dict):
            raise DataError(f"the input {name!r}: the arguments of {item['name']} must be an object")
        rows.append({"name": item["name"], "arguments": arguments})
    return rows


def _input(state: State, name: str) -> Any:
    if name not in state.inputs:
        present = ", ".join(map(repr, state.inputs)) or "none"
        raise DataError(
            f"the question came without the input {name!r} (it has {present}): name the column in the task's `inputs`, "
            f"or give --input {name}=…, in Python run(…, inputs={{{name!r}: …}})"
        )
    return state.inputs[name]
