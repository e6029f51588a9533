"""Rerankers on sentence-transformers: a cross-encoder, and late interaction. Both need the extra `train`.

A cross-encoder reads question and passage together, the passage with its title and headings (Nogueira & Cho 2019).
Late interaction encodes them apart, token by token, and adds up for every token of the question its best match in the
passage (ColBERT: Khattab & Zaharia 2020).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from llmkit.arguments import many_texts
from llmkit.errors import KnowledgeError, ModelError
from llmkit.extras import need
from llmkit.part import Part
from llmkit.types import Hit

_FAILURES = (OSError, ValueError, RuntimeError, KeyError)


class CrossEncoder(Part):
    """A cross-encoder with one output, from a folder or from the hub."""

    family: ClassVar[str] = "reranker"
    type: ClassVar[str] = "cross-encoder"

    model: str
    """A folder, or a repository on the hub. Code in the repository is never run."""
    revision: str | None = None
    """Commit of the repository. Without it the model may change without notice."""
    max_tokens: int = Field(default=512, ge=16)
    """Longest pair in tokens, special tokens included; at most what the model can read. Longer pairs are truncated."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """bfloat16 is faster on a CPU or GPU with bfloat16 arithmetic. Elsewhere torch computes it correctly and slowly."""
    batch_size: int = Field(default=32, ge=1)
    """Number of pairs in a batch."""
    device: str | None = None
    """Device as torch names it; none: a GPU if there is one, else the CPU."""

    def rerank_all(self, queries: Sequence[str], hits: Sequence[Sequence[Hit]], k: int) -> list[list[Hit]]:
        """Rank the hits of each query and return at most k of them, best first.

        ``scores["cross-encoder"]`` is the model's score.

        Raises:
            ModelError: the model does not load, or gives more than one number for each pair.
        """
        many_texts(queries, "queries")
        pairs = _pairs(queries, hits)
        if not pairs:
            return [[] for _ in hits]
        scores = np.asarray(
            self._model.predict(pairs, batch_size=self.batch_size, show_progress_bar=False), dtype=np.float64
        )
        if scores.shape != (len(pairs),):
            raise ModelError(f"{self.model} gives {scores.shape[1:]} numbers for each pair: a reranker gives one")
        return rank_by_scores(hits, scores, k, self.type)

    def cut(self, queries: Sequence[str], hits: Sequence[Sequence[Hit]]) -> int:
        """Count the pairs of which the model reads only the beginning of the passage."""
        many_texts(queries, "queries")
        tokenizer = self._model.tokenizer
        pairs = _pairs(queries, hits)
        if not pairs:
            return 0
        ids = tokenizer([a for a, _ in pairs], [b for _, b in pairs], truncation=False, verbose=False)["input_ids"]
        return sum(len(one) > self.max_tokens for one in ids)

    @cached_property
    def _model(self) -> Any:
        library = need("sentence_transformers", feature="{type: cross-encoder}", extra="train")
        try:
            model = library.CrossEncoder(
                self.model,
                revision=self.revision,
                device=self.device,
                trust_remote_code=False,
                max_length=self.max_tokens,
                model_kwargs={"dtype": self.dtype},
            )
        except _FAILURES as error:
            raise _unloadable(self.model, error) from error
        positions = getattr(model.config, "max_position_embeddings", None)
        if positions is not None and self.max_tokens > positions:
            raise ModelError(f"max_tokens {self.max_tokens} is more than the {positions} positions of {self.model}")
        return model


class LateInteraction(Part):
    """MaxSim over token vectors: the sum, over the question's tokens, of the best cosine to a token of the passage.

    For models that were trained for late interaction, such as ColBERT, in any form that sentence-transformers reads.
    Models that give one vector for each text rank badly here: see ``docs/retrieval.md``.
    """

    family: ClassVar[str] = "reranker"
    type: ClassVar[str] = "late-interaction"

    model: str
    """A folder, or a repository on the hub. Code in the repository is never run."""
    revision: str | None = None
    """Commit of the repository. Without it the model may change without notice."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """bfloat16 is faster on a CPU or GPU with bfloat16 arithmetic. Elsewhere torch computes it correctly and slowly."""
    batch_size: int = Field(default=32, ge=1)
    """Number of texts in a batch."""
    device: str | None = None
    """Device as torch names it; none: a GPU if there is one, else the CPU."""

    def rerank_all(self, queries: Sequence[str], hits: Sequence[Sequence[Hit]], k: int) -> list[list[Hit]]:
        """Rank the hits of each query and return at most k of them, best first.

        ``scores["late-interaction"]`` is the MaxSim. A passage that is a hit of several questions is encoded once.

        Raises:
            ModelError: the model does not load.
        """
        many_texts(queries, "queries")
        if not any(hits):
            return [[] for _ in hits]
        texts = list(dict.fromkeys(hit.chunk.indexed_text for found in hits for hit in found))
        many = {"batch_size": self.batch_size, "show_progress_bar": False}
        asked = self._model.encode_query(list(queries), **many)
        read = dict(zip(texts, self._model.encode_document(texts, **many), strict=True))
        scores = [
            float(self._model.similarity([query], [read[hit.chunk.indexed_text]])[0, 0])
            for query, found in zip(asked, hits, strict=True)
            for hit in found
        ]
        return rank_by_scores(hits, scores, k, self.type)

    def cut(self, queries: Sequence[str], hits: Sequence[Sequence[Hit]]) -> int:
        """Count the pairs whose question or passage is longer than the model reads."""
        many_texts(queries, "queries")
        tokenizer, first = self._model.tokenizer, self._model[0]
        limit = self._model.max_seq_length or tokenizer.model_max_length
        longest = {"query": getattr(first, "query_length", None), "document": getattr(first, "document_length", None)}

        def too_long(texts: Sequence[str], what: str) -> list[bool]:
            if not texts:
                return []
            ids = tokenizer(list(texts), truncation=False, verbose=False)["input_ids"]
            return [len(one) > (longest[what] or limit) for one in ids]

        questions = too_long(queries, "query")
        return sum(
            question or passage
            for question, found in zip(questions, hits, strict=True)
            for passage in too_long([hit.chunk.indexed_text for hit in found], "document")
        )

    @cached_property
    def _model(self) -> Any:
        library = need("sentence_transformers", feature="{type: late-interaction}", extra="train")
        try:
            return library.MultiVectorEncoder(
                self.model,
                revision=self.revision,
                device=self.device,
                trust_remote_code=False,
                model_kwargs={"dtype": self.dtype},
            )
        except _FAILURES as error:
            raise _unloadable(self.model, error) from error


def rank_by_scores(
    hits: Sequence[Sequence[Hit]], scores: Sequence[float] | NDArray[np.float64], k: int, name: str
) -> list[list[Hit]]:
    """Rank the hits of each question by new scores, one for each pair in order; equal scores keep their order.

    Raises:
        KnowledgeError: a score is not a finite number.
    """
    values = np.asarray(scores, dtype=np.float64)
    if not np.isfinite(values).all():
        raise KnowledgeError(f"the reranker {name} gave a score that is not a number: its order would mean nothing")
    ranked, at = [], 0
    for found in hits:
        own = values[at : at + len(found)]
        at += len(found)
        ranked.append(
            [
                replace(found[i], score=float(own[i]), scores={**found[i].scores, name: float(own[i])})
                for i in np.argsort(-own, kind="stable")[:k].tolist()
            ]
        )
    return ranked


def _pairs(queries: Sequence[str], hits: Sequence[Sequence[Hit]]) -> list[tuple[str, str]]:
    return [(query, hit.chunk.indexed_text) for query, found in zip(queries, hits, strict=True) for hit in found]


def _unloadable(model: str, error: Exception) -> ModelError:
    said = (str(error).splitlines() or ["?"])[0].rstrip(".")
    return ModelError(
        f"sentence-transformers cannot load {model!r}: {said}. Give the reranker a folder that holds the model "
        "(docs-qa-deep takes it from LLMKIT_RERANKER=FOLDER), or remove the step 'rerank'"
    )
