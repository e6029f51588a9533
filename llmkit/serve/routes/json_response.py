"""The JSON response that every route uses."""

from __future__ import annotations

from typing import Any

from starlette.responses import JSONResponse

from llmkit.serve.json_encoding import encode_json


class Utf8JsonResponse(JSONResponse):
    """A JSON response that can hold any Python text, lone surrogates included."""

    def render(self, content: Any) -> bytes:
        """Return the body."""
        return encode_json(content)
