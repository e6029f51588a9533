"""Embeddings of any OpenAI-compatible server: OpenAI itself, vLLM, Ollama, llama-server."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from llmkit.arguments import many_texts
from llmkit.encoders.identity import identity
from llmkit.errors import DataError, ModelError
from llmkit.part import Part

# There is no offline tokenizer for every server. Pieces of at most three letters or digits, single CJK characters and
# punctuation marks outnumber the tokens that byte-pair vocabularies in use make of ordinary text.
_PIECE = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W_]{1,3}|[^\w\s]|_")
_BATCH_TOKENS = 100_000


class OpenAIEncoder(Part):
    """Calls an embedding server; OPENAI_API_KEY is its key and OPENAI_BASE_URL its address."""

    family: ClassVar[str] = "encoder"
    type: ClassVar[str] = "openai"

    model: str = "text-embedding-3-small"
    """The server's name for the model."""
    dim: int = Field(default=1536, ge=1)
    """Length of a vector; a reply with another length is an error."""
    shorten: bool = False
    """Whether to ask the server for `dim` dimensions, for models that can shorten their vectors."""
    max_tokens: int = Field(default=8191, ge=8)
    """Longest text in tokens. The tokens are estimated, and the estimate is too high rather than too low."""
    batch_size: int = Field(default=256, ge=1)
    """Largest number of texts in one request."""
    timeout: float = Field(default=60.0, gt=0)
    """Seconds for one request."""
    retries: int = Field(default=4, ge=0)
    """Number of retries after status 429, 5xx or a lost connection; the wait is what the server asks for."""

    @property
    def identity(self) -> str:
        """``model@dim/server/max tokens/f32``."""
        return identity(self.model, str(self.dim), "server", self.max_tokens, "f32")

    @property
    def special_tokens(self) -> int:
        """0: the server does not tell how many tokens it adds."""
        return 0

    def token_starts(self, text: str) -> NDArray[np.int64]:
        """Offsets of short pieces of the text; ordinary text has more of them than the model has tokens."""
        return np.fromiter((match.start() for match in _PIECE.finditer(text)), dtype=np.int64)

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, dim), unit length. A text longer than max_tokens raises DataError."""
        many_texts(texts, "texts")
        return self._encode(texts)

    def encode_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, dim), unit length. A text longer than max_tokens raises DataError."""
        many_texts(texts, "texts")
        return self._encode(texts)

    def _encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        counts = [len(self.token_starts(text)) for text in texts]
        for row, count in enumerate(counts):
            if count > self.max_tokens:
                raise DataError(
                    f"text {row} has about {count} tokens; {self.model} reads {self.max_tokens}: split it first"
                )
        vectors = np.empty((len(texts), self.dim), dtype=np.float32)
        for rows in self._batches(counts):
            # servers refuse an empty text and accept a space
            vectors[rows] = self._ask([texts[row] or " " for row in rows])
        unit: NDArray[np.float32] = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        return unit

    def _batches(self, counts: Sequence[int]) -> Iterator[list[int]]:
        batch: list[int] = []
        tokens = 0
        for row, count in enumerate(counts):
            if batch and (len(batch) == self.batch_size or tokens + count > _BATCH_TOKENS):
                yield batch
                batch, tokens = [], 0
            batch.append(row)
            tokens += count
        if batch:
            yield batch

    def _ask(self, texts: list[str]) -> NDArray[np.float32]:
        import openai

        more: dict[str, Any] = {"dimensions": self.dim} if self.shorten else {}
        try:
            answer = self._client.embeddings.create(model=self.model, input=texts, encoding_format="float", **more)
        except openai.APIStatusError as error:
            retryable = error.status_code in (408, 409, 429) or error.status_code >= 500
            raise ModelError(
                f"the embedding server answered {error.status_code}: {error.message}", retryable=retryable
            ) from error
        except openai.APIConnectionError as error:
            raise ModelError(
                f"the embedding server {self._client.base_url} does not answer: {error}", retryable=True
            ) from error
        if sorted(item.index for item in answer.data) != list(range(len(texts))):
            raise ModelError(f"the embedding server answered {len(answer.data)} vectors to {len(texts)} texts")
        rows = sorted(answer.data, key=lambda item: item.index)
        lengths = {len(item.embedding) for item in rows}
        if lengths != {self.dim}:
            raise ModelError(
                f"{self.model} gives vectors of length {sorted(lengths)}, not {self.dim}: set dim to that length"
            )
        return np.array([item.embedding for item in rows], dtype=np.float32)

    @cached_property
    def _client(self) -> Any:
        import os
        from urllib.parse import urlparse

        import openai

        server = os.environ.get("OPENAI_BASE_URL") or None
        key = os.environ.get("OPENAI_API_KEY")
        here = server is not None and urlparse(server).hostname in ("127.0.0.1", "localhost", "::1")
        if not key and not here:
            raise ModelError(
                "the openai encoder needs a key: set OPENAI_API_KEY (and OPENAI_BASE_URL for another server)"
            )
        return openai.OpenAI(
            api_key=key or "none needed", base_url=server, timeout=self.timeout, max_retries=self.retries
        )
