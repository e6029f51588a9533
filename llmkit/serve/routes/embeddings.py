"""``/v1/embeddings``: the encoder of the knowledge base, under the name ``encoder``."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from fastapi import APIRouter
from starlette.requests import Request

from llmkit.errors import unknown
from llmkit.serve.auth.principal import Refused
from llmkit.serve.routes.dependencies import caller_of, service_of
from llmkit.serve.routes.request_schemas import EmbeddingRequest, without_effect

router = APIRouter(tags=["OpenAI"])


@router.post("/v1/embeddings")
def embed(request: Request, asked: EmbeddingRequest) -> dict[str, Any]:
    """Vectors of unit length. ``input_type`` is ``passage``, or ``query`` for encoders that tell the two apart."""
    without_effect(asked)
    if asked.model != "encoder":
        raise Refused(404, unknown("embedding model", asked.model, ["encoder"]), code="model_not_found")
    texts = [asked.input] if isinstance(asked.input, str) else asked.input
    if not texts:
        raise Refused(400, "there is no text to embed")
    with service_of(request).shelf.lease(caller_of(request).reader) as kb:
        encoder = kb.encoder
    if asked.dimensions not in (None, encoder.dim):
        raise Refused(400, f"this encoder's vectors have {encoder.dim} dimensions, not {asked.dimensions}")
    encode = encoder.encode_queries if asked.input_type == "query" else encoder.encode_passages
    vectors = encode(texts)
    tokens = sum(len(encoder.token_starts(text)) + encoder.special_tokens for text in texts)
    coded = asked.encoding_format == "base64"
    rows = [
        {
            "object": "embedding",
            "index": n,
            "embedding": base64.b64encode(vector.astype("<f4").tobytes()).decode() if coded else _floats(vector),
        }
        for n, vector in enumerate(vectors)
    ]
    return {
        "object": "list",
        "model": asked.model,
        "data": rows,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def _floats(vector: np.ndarray[Any, np.dtype[np.float32]]) -> list[float]:
    numbers: list[float] = vector.tolist()
    return numbers
