"""The base class of parts. A part holds its own configuration.

* A part is a frozen pydantic model. Its fields are the YAML keys; unknown keys are errors.
* ``family`` and ``type`` name it in YAML: ``{type: hybrid, parts: [dense, bm25]}`` inside a field of family
  ``retriever``. A bare word ``dense`` stands for ``{type: dense}``.
* The constructor is cheap. Models, indexes and connections are made on first use, in a ``cached_property``.
* :meth:`Part.replace` makes a changed copy. It validates the fields again and copies no cached value.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict


class Part(BaseModel):
    """A configurable, immutable building block."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    family: ClassVar[str] = ""
    """Kind of part: ``encoder``, ``retriever``, ``step`` and so on."""
    type: ClassVar[str] = ""
    """The word for this class in YAML."""

    def config(self) -> dict[str, Any]:
        """The part as plain YAML values: ``type`` first, then every field, defaults included."""
        values = {name: _plain(getattr(self, name)) for name in type(self).model_fields}
        return {"type": self.type, **values} if self.type else values

    def replace(self, **changes: Any) -> Self:
        """A copy with the named fields changed and validated, without cached values."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        return type(self).model_validate({**values, **changes})

    @property
    def digest(self) -> str:
        """First 16 hex digits of the SHA-256 of the configuration."""
        return hashlib.sha256(json.dumps(self.config(), sort_keys=True).encode()).hexdigest()[:16]


def _plain(value: Any) -> Any:
    if isinstance(value, Part):
        return value.config()
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, str | int | float):
        return value
    return str(value)  # a filter, a path: their text is their YAML
