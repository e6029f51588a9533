"""Function calls: the right function with the right arguments, or none where none fits."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, ClassVar

from llmkit import arithmetic
from llmkit.errors import DataError
from llmkit.evaluation.metrics.normalize import read_answer
from llmkit.part import Part
from llmkit.types import Figure, Sample, Score, State

_FENCE = re.compile(r"```(?:json)?\s*(.*?)```", re.DOTALL)
_WORD = re.compile(r"\w+")


class ToolCall(Part):
    """Reads the answer as JSON ``{"name": …, "arguments": {…}}`` (or a list of one) and compares it with the target.

    The target is a list of ``{function: {argument: [accepted values]}}``, as in the Berkeley Function Calling
    Leaderboard (Patil et al. 2025); an accepted value ``""`` means that the argument may be left out, an empty list
    that no function fits.
    """

    family: ClassVar[str] = "metric"
    type: ClassVar[str] = "tool-call"

    field: str = "target"
    """Column with the target."""
    by_value: tuple[str, ...] = ()
    """Arguments that are arithmetic: right where their value is."""
    by_words: tuple[str, ...] = ()
    """Arguments that are searched for: right where they hold every word of an accepted value."""

    def figures(self) -> Mapping[str, Figure]:
        """tool, arguments, parsed."""
        return {
            "tool": Figure("The right function is called, or none where none fits"),
            "tool_call": Figure("The right function with right arguments, or none where none fits"),
            "parsed": Figure("Answers that can be read as a call, where one is wanted"),
        }

    def score(self, sample: Sample, state: State) -> Mapping[str, Score]:
        """What cannot be read as a call calls nothing."""
        target = sample.fields.get(self.field)
        answer = read_answer(state)
        if isinstance(answer, str):
            return {name: Score.unscored(answer) for name in self.figures()}
        if not isinstance(target, list):
            return {name: Score.unscored(f"the sample has no list {self.field!r}") for name in self.figures()}
        call = read_call(answer.text)
        if not target:
            return {"tool": Score(float(call is None)), "tool_call": Score(float(call is None))}
        wanted: Any = target[0]
        if len(target) != 1 or not isinstance(wanted, dict) or len(wanted) != 1:
            return {name: Score.unscored("the target is not one call") for name in self.figures()}
        ((name, accepted),) = wanted.items()
        right = call is not None and call[0] == name
        fits = right and call is not None and self._fits(call[1], accepted)
        return {"tool": Score(float(right)), "tool_call": Score(float(fits)), "parsed": Score(float(call is not None))}

    def _fits(self, given: Mapping[str, Any], accepted: Mapping[str, Any]) -> bool:
        """Whether the arguments are right; those that are compared in a way of their own are looked at first."""
        for name in {*self.by_value, *self.by_words} & set(accepted):
            same = _same_value if name in self.by_value else _holds_words
            if not any(same(str(given.get(name, "")), str(option)) for option in accepted[name]):
                return False
        special = {*self.by_value, *self.by_words}
        rest = {name: value for name, value in accepted.items() if name not in special}
        return _fits({name: value for name, value in given.items() if name not in special & set(accepted)}, rest)


def read_call(text: str) -> tuple[str, dict[str, Any]] | None:
    """Name and arguments of the one call in a text, or None."""
    fenced = _FENCE.search(text)
    try:
        value = json.loads(fenced.group(1) if fenced else text.strip())
    except (json.JSONDecodeError, RecursionError):
        return None
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        return None
    arguments = value.get("arguments", value.get("parameters", {}))
    return (value["name"], arguments) if isinstance(arguments, dict) else None


def _fits(given: Mapping[str, Any], accepted: Mapping[str, Any]) -> bool:
    if set(given) - set(accepted):
        return False
    for name, values in accepted.items():
        options = values if isinstance(values, list) else [values]
        if name not in given:
            if "" not in options:
                return False
        elif not any(_same(given[name], option) for option in options):
            return False
    return True


def _same_value(given: str, wanted: str) -> bool:
    try:
        return arithmetic.value(given.replace("^", "**")) == arithmetic.value(wanted)
    except DataError:
        return False


def _holds_words(given: str, wanted: str) -> bool:
    return set(_WORD.findall(wanted.casefold())) <= set(_WORD.findall(given.casefold()))


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, bool) != isinstance(b, bool):
        return False
    if isinstance(a, str) and isinstance(b, str):
        return " ".join(a.casefold().split()) == " ".join(b.casefold().split())
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict) and isinstance(b, dict):
        return _fits(a, {key: value if isinstance(value, list) else [value] for key, value in b.items()})
    return bool(a == b)
