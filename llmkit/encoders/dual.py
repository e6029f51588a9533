"""A dual encoder without torch: one tower for questions, one for passages (Karpukhin et al. 2020).

::

    question ─ prefix ─ query tower ───┐
                                       ├─ truncate ── unit length ─► inner product = cosine
    passage  ─ prefix ─ passage tower ─┘

    trained with the inner product of vectors of any length (Facebook's DPR):
    passage p  ─► (p, √(M² - |p|²)) / M        question q  ─► (q, 0) / |q|

The second form keeps the order of the inner products with unit vectors and costs one dimension (Bachrach et al. 2014).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import ClassVar, Literal, Self
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from llmkit import weights
from llmkit.arguments import many_texts
from llmkit.encoders.bilingual_dictionary import Dictionaries
from llmkit.encoders.folder_config import RetrieverConfig, TowerConfig, read_retriever_config
from llmkit.encoders.identity import identity
from llmkit.encoders.runtime import capabilities
from llmkit.encoders.tower import Tower
from llmkit.errors import DataError, ModelError
from llmkit.part import Part


class DualEncoder(Part):
    """A trained retriever, DPR's two checkpoints, a sentence-transformers Router, or one encoder with two prefixes."""

    family: ClassVar[str] = "encoder"
    type: ClassVar[str] = "dual"

    model: str
    """Folder of a trained retriever, whose retriever.json gives the defaults of the other fields; or of the
    query tower, or of a sentence-transformers Router."""
    passage_model: str | None = None
    """Folder of the passage tower; none: the folder of the query tower."""
    query_prefix: str | None = None
    """Text before every question, as in ``"query: "``; none: as in the folder's configuration."""
    passage_prefix: str | None = None
    """Text before every passage; none: as in the folder's configuration."""
    pooling: Literal["auto", "mean", "cls", "max"] = "auto"
    """How token vectors become one. auto: as in the folder's configuration, else cls for DPR and mean for others."""
    truncate_dim: int | None = Field(default=None, ge=8)
    """Keep this many dimensions and normalize again, for models trained with Matryoshka loss (Kusupati et al. 2022);
    none: as in the folder's configuration."""
    similarity: Literal["auto", "cosine", "dot"] = "auto"
    """dot: for models trained with the inner product of vectors of any length, such as Facebook's DPR; needs max_norm.
    auto: cosine, except for DPR checkpoints, which need an explicit choice."""
    max_norm: float | None = Field(default=None, gt=0)
    """With dot: an upper bound for the length of passage vectors. It is part of the identity; a passage with a longer
    vector is refused, and the error gives the length."""
    longest: int | None = Field(default=None, ge=8)
    """Longest text in tokens, special tokens and prefix included; none: as in training, else 256."""
    words: Dictionaries = ()
    """Bilingual dictionaries for words that the model does not know: ``de`` or ``es``, which come with llmkit, or TSV
    files with the columns WORD, TRANSLATION and optionally WEIGHT."""
    runtime: Literal["auto", "openvino", "onnxruntime"] = "auto"
    """auto: the fastest runtime that passes its self-check; `llmkit doctor` shows it."""
    precision: Literal["auto", "f32", "bf16"] = "auto"
    """auto: bf16 if the CPU has bfloat16 arithmetic and bf16 passes its self-check, otherwise f32."""
    threads: int | None = Field(default=None, ge=1)
    """Number of threads; none: OMP_NUM_THREADS, or all CPUs."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.similarity == "dot") != (self.max_norm is not None):
            raise ValueError(
                "similarity: dot and max_norm come together: unit vectors keep the order of inner products only if no "
                "vector is longer than max_norm (Bachrach et al. 2014)"
            )
        if self.similarity == "dot" and self.truncate_dim is not None:
            raise ValueError("truncate_dim needs vectors of unit length; remove it, or set similarity to cosine")
        return self

    @property
    def choice(self) -> capabilities.Choice:
        """The runtime and precision in use for passages, and why."""
        return self._towers[1].selection.choice

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know: a faster runtime or precision that failed its check on this machine."""
        return tuple(dict.fromkeys(note for tower in self._towers for note in tower.selection.notes))

    @property
    def dim(self) -> int:
        """Length of a vector; one more than the model's with similarity: dot."""
        return self._truncated_dim or self._towers[0].dim + (self.max_norm is not None)

    @property
    def identity(self) -> str:
        """``name@query digest+passage digest/pooling,settings/max tokens/precision``."""
        query, passage = self._towers
        revision = query.digest[:12]
        if passage is not query and passage.digest != query.digest:
            revision += f"+{passage.digest[:12]}"
        settings = [query.pooling if query.pooling == passage.pooling else f"{query.pooling}+{passage.pooling}"]
        settings += [f"q={_safe(query.prefix)}"] if query.prefix else []
        settings += [f"p={_safe(passage.prefix)}"] if passage.prefix else []
        settings += [f"dim={self._truncated_dim}"] if self._truncated_dim else []
        settings += [f"dot<{self.max_norm}"] if self.max_norm else []
        return identity(self._retriever.name, revision, ",".join(settings), query.max_tokens, self.choice.precision)

    @property
    def max_tokens(self) -> int:
        """Longest text, special tokens and prefix included."""
        return self.longest or self._retriever.max_tokens or 256

    @property
    def special_tokens(self) -> int:
        """Special tokens and the longer prefix."""
        return max(tower.special_tokens for tower in self._towers)

    def token_starts(self, text: str) -> NDArray[np.int64]:
        """Offset of each word piece of a passage; see :class:`llmkit.protocols.Tokenizer`."""
        return self._towers[1].token_starts(text)

    def unknown_share(self, text: str) -> float:
        """Share of a question's tokens that the vocabulary does not have."""
        return self._towers[0].unknown_share(text)

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embeddings of questions, (n, dim), unit length. A text longer than max_tokens raises DataError."""
        many_texts(texts, "texts")
        vectors = self._towers[0].encode(texts)
        if self.max_norm is None:
            return self._shortened(vectors)
        unit: NDArray[np.float32] = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        return np.concatenate([unit, np.zeros((len(unit), 1), np.float32)], axis=1)

    def encode_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embeddings of passages, (n, dim), unit length.

        Raises:
            DataError: a text is longer than max_tokens, or its vector is longer than max_norm.
        """
        many_texts(texts, "texts")
        vectors = self._towers[1].encode(texts)
        if self.max_norm is None:
            return self._shortened(vectors)
        lengths = np.linalg.norm(vectors, axis=1)
        if len(lengths) and float(lengths.max()) > self.max_norm:
            row = int(lengths.argmax())
            raise DataError(
                f"text {row} has a vector of length {lengths[row]:.2f}, longer than max_norm {self.max_norm}: make the "
                f"knowledge base with a larger max_norm ({texts[row][:60]!r} …)"
            )
        scaled = vectors / np.float32(self.max_norm)
        rest = np.sqrt(np.maximum(0.0, 1.0 - np.einsum("ij,ij->i", scaled, scaled)))
        return np.concatenate([scaled, rest[:, None].astype(np.float32)], axis=1)

    def _shortened(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        if self._truncated_dim is None:
            return vectors
        cut = vectors[:, : self._truncated_dim]
        unit: NDArray[np.float32] = cut / np.maximum(np.linalg.norm(cut, axis=1, keepdims=True), 1e-12)
        return unit

    @cached_property
    def _retriever(self) -> RetrieverConfig:
        config = read_retriever_config(weights.find(self.model))
        if self.passage_model is None:
            return config
        other = read_retriever_config(weights.find(self.passage_model))
        return RetrieverConfig(
            f"{config.name}+{other.name}", config.query, other.passage, config.max_tokens, config.dim
        )

    @cached_property
    def _truncated_dim(self) -> int | None:
        if self.max_norm is not None:
            return None
        wanted, whole = self.truncate_dim or self._retriever.dim, self._towers[0].dim
        if wanted is not None and wanted > whole:
            raise ModelError(f"truncate_dim {wanted} is more than the {whole} dimensions of {self.model}")
        return None if wanted == whole else wanted

    @cached_property
    def _towers(self) -> tuple[Tower, Tower]:
        config = self._retriever
        query = self._tower(config.query, self.query_prefix)
        passage = self._tower(config.passage, self.passage_prefix)
        if query.dim != passage.dim:
            raise ModelError(
                f"the towers do not agree: {query.dim} dimensions for questions, {passage.dim} for passages"
            )
        if self.similarity == "auto" and "dpr" in (query.config.get("model_type"), passage.config.get("model_type")):
            raise ModelError(
                f"{self.model} is a checkpoint of DPR, which compares vectors of any length by inner product: say "
                "similarity: dot and max_norm, no passage vector being longer (20, say; a longer one is refused, with "
                "its length), or similarity: cosine if that is what you mean"
            )
        return (query, query) if query == passage else (query, passage)

    def _tower(self, side: TowerConfig, prefix: str | None) -> Tower:
        return Tower(
            side.folder,
            self.max_tokens,
            self.runtime,
            self.precision,
            self.threads,
            side.pooling if self.pooling == "auto" else self.pooling,
            normalize=self.similarity != "dot",
            prefix=side.prefix if prefix is None else prefix,
            strict=side.strict,
            dictionaries=self.words,
        )


def _safe(prefix: str) -> str:
    """A prefix inside an identity: one word, no slash."""
    return quote(prefix, safe="")
