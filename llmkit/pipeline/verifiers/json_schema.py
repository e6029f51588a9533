"""Is the draft JSON of a schema?"""

from __future__ import annotations

import re
from typing import Any, ClassVar

from pydantic import model_validator

from llmkit.errors import ConfigError
from llmkit.part import Part
from llmkit.pipeline.steps.answering.schemas import check_schema, read_json, validation_errors
from llmkit.types import State, Verdict

_FENCED = re.compile(r"\s*```[ \t]*(?:json)?[ \t]*\n(.*?)\n?[ \t]*```\s*", re.DOTALL | re.IGNORECASE)


class JsonSchema(Part):
    """Whether the draft is JSON of a schema (2020-12 unless it names another draft), in a fence or without."""

    family: ClassVar[str] = "verifier"
    type: ClassVar[str] = "json-schema"

    json_schema: dict[str, Any]
    """The schema; references lead nowhere but into it."""

    @model_validator(mode="after")
    def _is_a_schema(self) -> JsonSchema:
        try:
            check_schema(self.json_schema)
        except ConfigError as error:
            raise ValueError(str(error)) from error
        return self

    def verify(self, draft: str, state: State) -> Verdict:
        """1: it is; 0.5: JSON, but not of the schema; 0: no JSON."""
        try:
            value = json_of(draft)
        except ValueError as error:
            return Verdict(0.0, (f"This is not JSON: {error}. Reply with JSON and nothing else.",))
        found = validation_errors(self.json_schema, value)
        return Verdict(0.5 if found else 1.0, tuple(found))


def json_of(draft: str) -> Any:
    """The JSON value that a draft is, in a fence or without, and nothing around it.

    Raises:
        ValueError: it is none.
    """
    fenced = _FENCED.fullmatch(draft)
    try:
        return read_json(fenced.group(1) if fenced else draft)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
