"""``/v1/embeddings``: the encoder of the knowledge base, as the model ``encoder``."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from fastapi import APIRouter
from starlette.requests import Request

from llmkit.errors import unknown
from llmkit.serve.errors import HttpError
from llmkit.serve.routes.dependencies import caller_of, service_of
from llmkit.serve.routes.request_schemas import EmbeddingRequest, check_parameters

router = APIRouter(tags=["OpenAI"])


@router.post("/v1/embeddings")
def embed(request: Request, body: EmbeddingRequest) -> dict[str, Any]:
    """Return embeddings of unit length.

    ``input_type`` is ``passage`` or ``query``, for encoders that distinguish the two.
    """
    check_parameters(body)
    if body.model != "encoder":
        raise HttpError(404, unknown("embedding model", body.model, ["encoder"]), code="model_not_found")
    texts = [body.input] if isinstance(body.input, str) else body.input
    if not texts:
        raise HttpError(400, "'input' is empty: send at least one text")
    with service_of(request).knowledge.view(caller_of(request).reader) as kb:
        encoder = kb.encoder
    if body.dimensions not in (None, encoder.dim):
        raise HttpError(400, f"the embeddings of this encoder have {encoder.dim} dimensions, not {body.dimensions}")
    encode = encoder.encode_queries if body.input_type == "query" else encoder.encode_passages
    vectors = encode(texts)
    tokens = sum(len(encoder.token_starts(text)) + encoder.special_tokens for text in texts)
    as_base64 = body.encoding_format == "base64"
    rows = [
        {"object": "embedding", "index": n, "embedding": _base64(vector) if as_base64 else vector.tolist()}
        for n, vector in enumerate(vectors)
    ]
    return {
        "object": "list",
        "model": body.model,
        "data": rows,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def _base64(vector: np.ndarray[Any, np.dtype[np.float32]]) -> str:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()
