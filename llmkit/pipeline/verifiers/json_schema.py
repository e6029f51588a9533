"""Verifier ``json-schema``: whether a draft is JSON that fits a schema."""

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
    """Checks that the draft is JSON of a schema (2020-12 unless it names another draft), in a code fence or without."""

    family: ClassVar[str] = "verifier"
    type: ClassVar[str] = "json-schema"

    json_schema: dict[str, Any]
    """The schema. References must stay inside it."""

    @model_validator(mode="after")
    def _check_schema(self) -> JsonSchema:
        try:
            check_schema(self.json_schema)
        except ConfigError as error:
            raise ValueError(str(error)) from error
        return self

    def verify(self, draft: str, state: State) -> Verdict:
        """Score 1 for valid JSON, 0.5 for JSON that does not fit the schema, 0 for anything else."""
        try:
            value = parse_json_draft(draft)
        except ValueError as error:
            return Verdict(0.0, (f"This is not JSON: {error}. Reply with JSON and nothing else.",))
        errors = validation_errors(self.json_schema, value)
        return Verdict(0.5 if errors else 1.0, tuple(errors))


def parse_json_draft(draft: str) -> Any:
    """The JSON value of a draft that is nothing but JSON, in a code fence or without.

    Raises:
        ValueError: the draft is anything else.
    """
    fenced = _FENCED.fullmatch(draft)
    try:
        return read_json(fenced.group(1) if fenced else draft)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
