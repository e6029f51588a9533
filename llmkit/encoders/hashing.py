"""An encoder without weights that hashes words, for tests and for machines without a model."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from llmkit.arguments import many_texts
from llmkit.errors import DataError
from llmkit.part import Part

_TOKEN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W_]{1,12}|[^\w\s]|_")


class HashingEncoder(Part):
    """Signed bag of hashed words (Weinberger et al. 2009). It finds passages that share words, not meaning."""

    family: ClassVar[str] = "encoder"
    type: ClassVar[str] = "hashing"

    dim: int = Field(default=256, ge=8)
    """Length of a vector."""
    max_tokens: int = Field(default=256, ge=8)
    """Longest text, in words and punctuation marks."""

    @property
    def identity(self) -> str:
        """``hashing@1/sum/256/f32``."""
        return f"hashing-{self.dim}@1/sum/{self.max_tokens}/f32"

    @property
    def special_tokens(self) -> int:
        """0: no token is added to a text."""
        return 0

    def token_starts(self, text: str) -> NDArray[np.int64]:
        """Offsets of words (at most 12 letters each), CJK characters and punctuation marks."""
        return np.fromiter((match.start() for match in _TOKEN.finditer(text)), dtype=np.int64)

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, dim), unit length; a text without words is the first unit vector."""
        many_texts(texts, "texts")
        return self._encode(texts)

    def encode_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, dim), unit length; a text without words is the first unit vector."""
        many_texts(texts, "texts")
        return self._encode(texts)

    def _encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        vectors = np.zeros((len(texts), self.dim), dtype=np.float32)
        for row, text in enumerate(texts):
            tokens = _TOKEN.findall(text)
            if len(tokens) > self.max_tokens:
                raise DataError(
                    f"text {row} has {len(tokens)} tokens; this encoder reads {self.max_tokens}: split it first"
                )
            for token in tokens:
                if token.isalnum():
                    digest = zlib.crc32(token.casefold().encode())
                    vectors[row, (digest >> 1) % self.dim] += 1.0 if digest & 1 else -1.0
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors[lengths[:, 0] == 0, 0] = 1.0
        lengths[lengths == 0] = 1.0
        vectors /= lengths
        return vectors
