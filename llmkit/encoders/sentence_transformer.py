"""Any sentence-transformers model on torch, from a folder or from the hub."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from llmkit.arguments import many_texts
from llmkit.encoders.identity import identity
from llmkit.errors import DataError, ModelError
from llmkit.extras import need
from llmkit.part import Part


class SentenceTransformerEncoder(Part):
    """Encodes with the model's own prompts and towers for queries and passages. Needs the extra `train`."""

    family: ClassVar[str] = "encoder"
    type: ClassVar[str] = "sentence-transformer"

    model: str
    """A folder, or a repository on the hub. Code in the repository is never run."""
    revision: str | None = None
    """Commit of the repository. Without it the identity says ``main``, and the model may change without notice."""
    max_tokens: int = Field(default=256, ge=8)
    """Longest text in tokens, special tokens and prompt included; at most what the model can read."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """bfloat16 is faster on a CPU or GPU with bfloat16 arithmetic. Elsewhere torch computes it correctly and slowly."""
    batch_size: int = Field(default=32, ge=1)
    """Number of texts in a batch."""
    device: str | None = None
    """Device as torch names it; none: a GPU if there is one, else the CPU."""

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return int(self._model.get_embedding_dimension())

    @property
    def identity(self) -> str:
        """``folder@revision/sentence-transformers/max tokens/precision``."""
        name = self.model.rstrip("/").rpartition("/")[2]
        precision = "bf16" if self.dtype == "bfloat16" else "f32"
        return identity(name, self.revision or self._digest, "st", self.max_tokens, precision)

    @cached_property
    def special_tokens(self) -> int:
        """Number of special tokens and of tokens of the longest prompt; they are added to every text."""
        tokenizer = self._model.tokenizer
        prompts = [len(tokenizer(text, add_special_tokens=False).input_ids) for text in self._model.prompts.values()]
        return int(tokenizer.num_special_tokens_to_add(pair=False)) + max(prompts, default=0)

    def token_starts(self, text: str) -> NDArray[np.int64]:
        """Offset of each token; see :class:`llmkit.protocols.Tokenizer`."""
        encoded = self._model.tokenizer(
            text, add_special_tokens=False, return_offsets_mapping=True, truncation=False, verbose=False
        )
        return np.array([start for start, _ in encoded["offset_mapping"]], dtype=np.int64)

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, dim), unit length. A text longer than max_tokens raises DataError."""
        many_texts(texts, "texts")
        return self._encode(self._model.encode_query, texts)

    def encode_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, dim), unit length. A text longer than max_tokens raises DataError."""
        many_texts(texts, "texts")
        return self._encode(self._model.encode_document, texts)

    def _encode(self, encode: Any, texts: Sequence[str]) -> NDArray[np.float32]:
        for row, text in enumerate(texts):
            tokens = len(self.token_starts(text)) + self.special_tokens
            if tokens > self.max_tokens:
                raise DataError(f"text {row} has {tokens} tokens; {self.model} reads {self.max_tokens}: split it first")
        if not texts:
            return np.empty((0, self.dim), dtype=np.float32)
        vectors = encode(list(texts), batch_size=self.batch_size, show_progress_bar=False, convert_to_tensor=True)
        found: NDArray[np.float32] = vectors.float().cpu().numpy()
        unit: NDArray[np.float32] = found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)
        return unit

    @cached_property
    def _digest(self) -> str:
        """First 12 hex digits of the SHA-256 of the weights, for a folder; ``main`` for the hub."""
        import hashlib
        from pathlib import Path

        files = sorted(Path(self.model).expanduser().rglob("*.safetensors"))
        if not files:
            return "main"
        digest = hashlib.sha256()
        for file in files:
            with file.open("rb") as content:
                digest.update(hashlib.file_digest(content, "sha256").digest())
        return digest.hexdigest()[:12]

    @cached_property
    def _model(self) -> Any:
        library = need("sentence_transformers", feature="{type: sentence-transformer}", extra="train")
        try:
            model = library.SentenceTransformer(
                self.model,
                revision=self.revision,
                device=self.device,
                trust_remote_code=False,
                model_kwargs={"dtype": self.dtype},
            )
        except (OSError, ValueError) as error:
            raise ModelError(
                f"sentence-transformers cannot load {self.model!r}: {str(error).splitlines()[0]}"
            ) from error
        positions = min(_positions(model[0]), default=None) if len(model) else None
        if positions is not None and self.max_tokens > positions:
            raise ModelError(f"max_tokens {self.max_tokens} is more than the {positions} positions of {self.model}")
        model.max_seq_length = self.max_tokens
        return model


def _positions(module: Any) -> list[int]:
    """The position limit of each tower: one for a plain model, two for a Router."""
    routes = getattr(module, "sub_modules", None)
    first = [modules[0] for modules in routes.values()] if routes is not None else [module]
    models = (getattr(one, "auto_model", None) for one in first)
    found = (getattr(getattr(model, "config", None), "max_position_embeddings", None) for model in models)
    return [positions for positions in found if positions is not None]
