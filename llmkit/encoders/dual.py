"""Two encoders that agree on a space: one for questions, one for passages (Karpukhin et al. 2020), without torch.

::

    question ─ prefix ─ query tower ───┐
                                       ├─ cut to dim ─ unit length ─► inner product = cosine
    passage  ─ prefix ─ passage tower ─┘

    trained with the inner product of vectors of any length (Facebook's DPR):
    passage p  ─► (p, √(M² - |p|²)) / M        question q  ─► (q, 0) / |q|

The second form has the inner product's order in unit vectors, at the price of one dimension (Bachrach et al. 2014).
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
from llmkit.encoders.folder_config import Described, Side, describe
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
    """Folder of a trained retriever, which says the rest itself; or of the query tower, or a Router."""
    passage_model: str | None = None
    """Folder of the passage tower; none: the same as for questions."""
    query_prefix: str | None = None
    """Put before every question, as in ``"query: "``; none: as the folder says."""
    passage_prefix: str | None = None
    """Put before every passage; none: as the folder says."""
    pooling: Literal["auto", "mean", "cls", "max"] = "auto"
    """auto: as the folder says; cls for DPR; else mean."""
    truncate_dim: int | None = Field(default=None, ge=8)
    """Keep the first dimensions, of unit length again: for models trained with Matryoshka; none: as the folder says."""
    similarity: Literal["auto", "cosine", "dot"] = "auto"
    """dot: trained with the inner product of vectors of any length, as Facebook's DPR; needs max_norm. auto: cosine,
    but for DPR's checkpoints, where you must say which."""
    max_norm: float | None = Field(default=None, gt=0)
    """With dot: no passage vector is longer. Part of the identity; a passage beyond it is refused, with its length."""
    longest: int | None = Field(default=None, ge=8)
    """Tokens of the longest text, special tokens and prefix included; none: as the retriever was trained, else 256."""
    words: Dictionaries = ()
    """Dictionaries of words that are read through their translations: names of those that come with llmkit (de, es), or
    TSV files of yours with WORD, TRANSLATION and by choice WEIGHT."""
    runtime: Literal["auto", "openvino", "onnxruntime"] = "auto"
    """auto: what the CPU runs fastest, as `llmkit doctor` shows it."""
    precision: Literal["auto", "f32", "bf16"] = "auto"
    """auto: bf16 where the CPU multiplies it, f32 elsewhere."""
    threads: int | None = Field(default=None, ge=1)
    """Threads; none: OMP_NUM_THREADS, or all CPUs."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.similarity == "dot") != (self.max_norm is not None):
            raise ValueError(
                "similarity: dot and max_norm come together: unit vectors keep the order of inner products only "
                "below a greatest length (Bachrach et al. 2014)"
            )
        if self.similarity == "dot" and self.truncate_dim is not None:
            raise ValueError(
                "truncate_dim cuts unit vectors; a model trained with the inner product has all of its dimensions"
            )
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
        return self._cut or self._towers[0].dim + (self.max_norm is not None)

    @property
    def identity(self) -> str:
        """``name@query digest+passage digest/pooling,settings/max tokens/precision``."""
        query, passage = self._towers
        revision = query.digest[:12]
        if passage is not query and passage.digest != query.digest:
            revision += f"+{passage.digest[:12]}"
        how = [query.pooling if query.pooling == passage.pooling else f"{query.pooling}+{passage.pooling}"]
        how += [f"q={_safe(query.prefix)}"] if query.prefix else []
        how += [f"p={_safe(passage.prefix)}"] if passage.prefix else []
        how += [f"dim={self._cut}"] if self._cut else []
        how += [f"dot<{self.max_norm}"] if self.max_norm else []
        return identity(self._described.name, revision, ",".join(how), query.max_tokens, self.choice.precision)

    @property
    def max_tokens(self) -> int:
        """Longest text, special tokens and prefix included."""
        return self.longest or self._described.max_tokens or 256

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
        """(n, dim), unit length. A text longer than max_tokens raises DataError."""
        many_texts(texts, "texts")
        vectors = self._towers[0].encode(texts)
        if self.max_norm is None:
            return self._shortened(vectors)
        unit: NDArray[np.float32] = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        return np.concatenate([unit, np.zeros((len(unit), 1), np.float32)], axis=1)

    def encode_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, dim), unit length. A text longer than max_tokens, or a vector longer than max_norm, raises DataError."""
        many_texts(texts, "texts")
        vectors = self._towers[1].encode(texts)
        if self.max_norm is None:
            return self._shortened(vectors)
        lengths = np.linalg.norm(vectors, axis=1)
        if len(lengths) and float(lengths.max()) > self.max_norm:
            row = int(lengths.argmax())
            raise DataError(
                f"text {row} has a vector of length {lengths[row]:.2f}, longer than max_norm {self.max_norm}: make the "
                f"knowledge base with a greater one ({texts[row][:60]!r} …)"
            )
        scaled = vectors / np.float32(self.max_norm)
        rest = np.sqrt(np.maximum(0.0, 1.0 - np.einsum("ij,ij->i", scaled, scaled)))
        return np.concatenate([scaled, rest[:, None].astype(np.float32)], axis=1)

    def _shortened(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        if self._cut is None:
            return vectors
        cut = vectors[:, : self._cut]
        unit: NDArray[np.float32] = cut / np.maximum(np.linalg.norm(cut, axis=1, keepdims=True), 1e-12)
        return unit

    @cached_property
    def _described(self) -> Described:
        said = describe(weights.find(self.model))
        if self.passage_model is None:
            return said
        other = describe(weights.find(self.passage_model))
        return Described(f"{said.name}+{other.name}", said.query, other.passage, said.max_tokens, said.dim)

    @cached_property
    def _cut(self) -> int | None:
        if self.max_norm is not None:
            return None
        wanted, whole = self.truncate_dim or self._described.dim, self._towers[0].dim
        if wanted is not None and wanted > whole:
            raise ModelError(f"truncate_dim {wanted} is more than the {whole} dimensions of {self.model}")
        return None if wanted == whole else wanted

    @cached_property
    def _towers(self) -> tuple[Tower, Tower]:
        said = self._described
        query = self._tower(said.query, self.query_prefix)
        passage = self._tower(said.passage, self.passage_prefix)
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

    def _tower(self, side: Side, prefix: str | None) -> Tower:
        return Tower(
            side.folder,
            self.max_tokens,
            self.runtime,
            self.precision,
            self.threads,
            side.pooling if self.pooling == "auto" else self.pooling,
            unit=self.similarity != "dot",
            prefix=side.prefix if prefix is None else prefix,
            trained=side.trained,
            dictionaries=self.words,
        )


def _safe(prefix: str) -> str:
    """A prefix inside an identity: one word, no slash."""
    return quote(prefix, safe="")
