"""A part is its own configuration.

The contract, written once:

* A part is a frozen pydantic model. Its fields are the YAML keys; unknown keys are errors.
* ``family`` and ``type`` name it in YAML: ``{type: hybrid, parts: [dense, bm25]}`` inside a field of family
  ``retriever``. A bare word ``dense`` stands for ``{type: dense}``.
* The constructor is light. Models, indexes and connections are made on first use, in a ``cached_property``.
* A changed copy is made by :meth:`Part.replace`, which validates again and leaves the heavy state behind.
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
    """What the part is for: ``encoder``, ``retriever``, ``step``."""
    type: ClassVar[str] = ""
    """The word that picks this class in YAML."""

    def config(self) -> dict[str, Any]:
        """The part as plain YAML values, ``type`` first, defaults written out."""
        values = {name: _plain(getattr(self, name)) for name in type(self).model_fields}
        return {"type": self.type, **values} if self.type else values

    def replace(self, **changes: Any) -> Self:
        """A copy with the named fields changed and validated, without any cached state."""
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
