"""Is the draft JSON of a schema?"""

from __future__ import annotations

import json
import re
from functools import cached_property
from itertools import islice
from typing import Any, ClassVar, NoReturn

from pydantic import model_validator

from llmkit.part import Part
from llmkit.types import State, Verdict

_FENCED = re.compile(r"\s*```[ \t]*(?:json)?[ \t]*\n(.*?)\n?[ \t]*```\s*", re.DOTALL | re.IGNORECASE)
_MOST = 10  # problems told at a time


class JsonSchema(Part):
    """Whether the draft is JSON of a schema (2020-12 unless it names another draft), in a fence or without."""

    family: ClassVar[str] = "verifier"
    type: ClassVar[str] = "json-schema"

    json_schema: dict[str, Any]
    """The schema; references lead nowhere but into it."""

    @model_validator(mode="after")
    def _is_a_schema(self) -> JsonSchema:
        from jsonschema.exceptions import SchemaError
        from jsonschema.validators import validator_for

        try:
            validator_for(self.json_schema).check_schema(self.json_schema)
        except SchemaError as error:
            raise ValueError(f"not a JSON schema: {error.message}") from error
        return self

    def verify(self, draft: str, state: State) -> Verdict:
        """1: it is; 0.5: JSON, but not of the schema; 0: no JSON."""
        fenced = _FENCED.fullmatch(draft)
        try:
            value = json.loads(fenced.group(1) if fenced else draft, parse_constant=_refuse)
        except (ValueError, RecursionError) as error:
            return Verdict(0.0, (f"This is not JSON: {error}. Reply with JSON and nothing else.",))
        problems = [
            f"At {error.json_path}: {error.message[:300]}"
            for error in islice(self._validator.iter_errors(value), _MOST)
        ]
        return Verdict(0.5 if problems else 1.0, tuple(problems))

    @cached_property
    def _validator(self) -> Any:
        from jsonschema.validators import validator_for
        from referencing import Registry

        registry: Registry[Any] = Registry()  # knows nothing and fetches nothing
        return validator_for(self.json_schema)(self.json_schema, registry=registry)


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
