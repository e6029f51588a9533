"""A cross-encoder without torch: question and passage read together, one score a pair (Nogueira & Cho 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from llmkit import cpu, weights
from llmkit.arguments import many_texts
from llmkit.encoders.runtime import capabilities, tensors
from llmkit.encoders.runtime.bert_graph import BertGraph, Pooling, read_config
from llmkit.encoders.runtime.graph_cache import load_or_build_graph
from llmkit.encoders.runtime.numpy_graph import NumpyGraph, evaluate
from llmkit.encoders.runtime.runtimes import Batch, batches
from llmkit.encoders.runtime.selection import CheckedGraph, Selection, select
from llmkit.errors import ModelError
from llmkit.part import Part
from llmkit.retrieval.rerankers.cross_encoder_onnx import write_cross_encoder
from llmkit.retrieval.rerankers.pair_tokens import PairTokenizer, with_token_types
from llmkit.types import Hit
from llmkit.weights.self_check import compare_scores

_MAX_BATCH_TOKENS = 2048  # tokens of a batch; see benchmarks/reranker.py --latency
_MAX_TEXTS = 64
CARD = "reranker.json"
CHECK_PAIRS = (
    ("pump", "The seal of the pump must be replaced every 2,000 hours."),
    ("What does the warranty exclude?", "Cold water in the motor voids the warranty."),
    ("How many people live in Berlin?", "pump"),
)
"""Questions and passages of the check that a runtime passes before its first use."""


class Card(BaseModel):
    """``reranker.json`` beside the weights: settings that have no place in the config.json of transformers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    pooling: Pooling = "cls"
    max_tokens: int = Field(default=256, ge=16)
    """Length of the longest pair in training, in tokens."""
    prior: float = Field(default=0.0, ge=0)
    """Weight of the retriever's score, scaled to [0, 1] over the hits of a question; it is added to the model's."""
    base: str | None = None
    """With ``delta.safetensors``: name of the base model in `llmkit models list`."""
    layers: int | None = None
    """With a delta: number of layers of the base that are used; None: all."""


@dataclass(frozen=True, slots=True)
class PairScores:
    """Scores of pairs of a question and a passage, with counts of what did not fit."""

    scores: NDArray[np.float32]
    """(n,), logits. A higher score is more relevant; scores of different questions cannot be compared."""
    windowed: int
    """Number of pairs whose passage was read in several windows. The best window gives the score."""
    cut: int
    """Number of pairs that were truncated: a long question, or a long passage with ``long: cut``."""


class LocalCrossEncoder(Part):
    """A BERT-family cross-encoder in a folder, through OpenVINO or ONNX Runtime."""

    family: ClassVar[str] = "reranker"
    type: ClassVar[str] = "local"

    model: str
    """A folder with config.json, model.safetensors and tokenizer.json, or the output of `llmkit train reranker`."""
    max_tokens: int | None = Field(default=None, ge=16)
    """Longest pair in tokens, special tokens included; none: as in training (256 if the folder does not say)."""
    long: Literal["window", "cut"] = "window"
    """What happens to a passage that is too long. window: score overlapping windows and take the best score. cut: read
    the beginning only."""
    prior: float | None = Field(default=None, ge=0)
    """Weight of the retriever's score beside the model's score; none: as in training."""
    runtime: Literal["auto", "openvino", "onnxruntime"] = "auto"
    """auto: the fastest runtime that passes its self-check; `llmkit doctor` shows it."""
    precision: Literal["auto", "f32", "bf16"] = "auto"
    """auto: bf16 if the CPU has bfloat16 arithmetic and bf16 passes its self-check, otherwise f32."""
    threads: int | None = Field(default=None, ge=1)
    """Number of threads; none: OMP_NUM_THREADS, or all CPUs."""

    def rerank_all(self, queries: Sequence[str], hits: Sequence[Sequence[Hit]], k: int) -> list[list[Hit]]:
        """Rank the hits of each query and return at most k of them, best first; equal scores keep their order.

        ``score`` is the model's score plus `prior` times the retriever's; ``scores["reranker"]`` is the model's alone.
        """
        many_texts(queries, "queries")
        pairs = [(query, hit) for query, found in zip(queries, hits, strict=True) for hit in found]
        scored = self.score([query for query, _ in pairs], [hit.chunk.indexed_text for _, hit in pairs]).scores
        prior, ranked, at = self.card.prior if self.prior is None else self.prior, [], 0
        for found in hits:
            own = scored[at : at + len(found)].astype(float)
            at += len(found)
            total = own + prior * min_max_scale([hit.score for hit in found])
            order = np.argsort(-total, kind="stable")[:k]
            ranked.append(
                [
                    replace(found[i], score=float(total[i]), scores={**found[i].scores, "reranker": float(own[i])})
                    for i in order.tolist()
                ]
            )
        return ranked

    def cut(self, queries: Sequence[str], hits: Sequence[Sequence[Hit]]) -> int:
        """Count the pairs that are truncated: a long question, or a long passage with ``long: cut``."""
        many_texts(queries, "queries")
        pairs = [(query, hit.chunk.indexed_text) for query, found in zip(queries, hits, strict=True) for hit in found]
        questions, passages = [query for query, _ in pairs], [text for _, text in pairs]
        return self._pairs.sequences(questions, passages, self.pair_tokens, self.long == "window").cut

    def score(self, queries: Sequence[str], passages: Sequence[str]) -> PairScores:
        """Score pairs of texts: the first query with the first passage, the second with the second, and so on."""
        many_texts(queries, "queries")
        many_texts(passages, "passages")
        sequences = self._pairs.sequences(queries, passages, self.pair_tokens, self.long == "window")
        out = np.empty((len(sequences.ids), 1), dtype=np.float32)
        if sequences.ids:
            work = batches(sequences.ids, budget=_MAX_BATCH_TOKENS, max_texts=_MAX_TEXTS)
            self.selection.run(with_token_types(work, sequences.types) if self._reads_types else work, out)
        best = np.full(len(queries), -np.inf, dtype=np.float32)
        np.maximum.at(best, sequences.pair, out[:, 0])
        return PairScores(best, sequences.windowed, sequences.cut)

    @cached_property
    def folder(self) -> Path:
        """The model's folder.

        Raises:
            ModelError: the folder or one of its files is missing.
        """
        folder = weights.find(self.model)
        delta = (folder / "delta.safetensors").is_file()
        required = [CARD, "head.safetensors"] if delta else ["config.json", "model.safetensors"]
        for name in required:
            if not (folder / name).is_file():
                raise ModelError(f"{folder} is not a cross-encoder: it has no {name}")
        return folder

    @cached_property
    def card(self) -> Card:
        """The contents of ``reranker.json``, or the defaults if there is no such file."""
        file = self.folder / CARD
        if not file.is_file():
            return Card()
        try:
            return Card.model_validate_json(file.read_bytes())
        except ValidationError as error:
            raise ModelError(f"{file}: {error}") from error

    @property
    def choice(self) -> capabilities.Choice:
        """The runtime and precision in use, and why."""
        return self.selection.choice

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know: a faster runtime or precision that failed its check on this machine."""
        return self.selection.notes

    @cached_property
    def selection(self) -> Selection:
        """The runtime and precision in use, checked on this machine against NumPy in float32.

        Raises:
            UnsupportedPrecision: the precision that was asked for cannot be had here.
            ModelError: no runtime works.
        """
        graph, digest = self._graph
        checked = CheckedGraph(
            name=self.folder.name,
            file=graph,
            weights=digest,
            settings=self._settings,
            prepare=self._check_inputs,
            reference=self._check_reference,
            compare=compare_scores,
            threads=self.threads or cpu.threads(),
        )
        return select(self.runtime, self.precision, checked)

    @property
    def identity(self) -> str:
        """``rerank-minilm@0123456789ab/256/bf16``."""
        return f"{self.folder.name}@{self._graph[1][:12]}/{self.pair_tokens}/{self.choice.precision}"

    @cached_property
    def pair_tokens(self) -> int:
        """Length of the longest pair, in tokens, special tokens included."""
        max_tokens = self.max_tokens or self.card.max_tokens
        limit = int(self._config["max_position_embeddings"])
        if self._config.get("model_type") != "bert":
            limit -= 2  # RoBERTa keeps two positions for padding
        if max_tokens > limit:
            raise ModelError(f"max_tokens {max_tokens} is more than the {limit} positions of {self.model}")
        return max_tokens

    @cached_property
    def _base(self) -> Path:
        """The folder with config.json and tokenizer.json: the model's own, or that of the base."""
        return weights.find(self.card.base) if self.card.base else self.folder

    @cached_property
    def _config(self) -> dict[str, Any]:
        config = read_config(self._base)
        return {**config, "num_hidden_layers": self.card.layers or config["num_hidden_layers"]}

    @property
    def _reads_types(self) -> bool:
        return int(self._config.get("type_vocab_size", 2)) > 1

    @cached_property
    def _pairs(self) -> PairTokenizer:
        from tokenizers import Tokenizer

        file = self._base / "tokenizer.json"
        if not file.is_file():
            raise ModelError(f"{self._base} is not a cross-encoder: it has no tokenizer.json")
        tokenizer = Tokenizer.from_file(str(file))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return PairTokenizer(tokenizer)

    @property
    def _settings(self) -> str:
        """What shapes the graph beside the weights."""
        return f"cross-encoder {self.card.model_dump_json()} {self._base / 'config.json'}"

    @cached_property
    def _graph(self) -> tuple[Path, str]:
        names = ["delta.safetensors", "head.safetensors"] if self.card.base else ["model.safetensors"]
        return load_or_build_graph([self.folder / name for name in names], self._settings, self._build)

    def _build(self) -> bytes:
        return write_cross_encoder(BertGraph(self.folder, self._config, self._tensors()), self.card.pooling)

    def _tensors(self) -> dict[str, Any]:
        values = tensors.load(self.folder)
        if self.card.base:
            values |= tensors.read(self.folder / "head.safetensors")
        return values

    def _check_inputs(self) -> list[Batch]:
        queries, passages = zip(*CHECK_PAIRS, strict=True)
        sequences = self._pairs.sequences(queries, passages, self.pair_tokens, windows=False)
        work = batches(sequences.ids, budget=_MAX_BATCH_TOKENS, max_texts=_MAX_TEXTS)
        return list(with_token_types(work, sequences.types) if self._reads_types else work)

    def _check_reference(self, work: list[Batch]) -> NDArray[np.float32]:
        def build(inputs: dict[str, NDArray[Any]]) -> NumpyGraph:
            graph = NumpyGraph(self.folder, self._config, self._tensors(), inputs)
            write_cross_encoder(graph, self.card.pooling)
            return graph

        return evaluate(work, build, width=1)


def min_max_scale(scores: Sequence[float]) -> NDArray[np.float64]:
    """Scale the scores of one question's hits to [0, 1], (n,); if all are equal, each becomes 1.

    Training and serving both use it for the prior.
    """
    values = np.asarray(scores, dtype=np.float64)
    if not len(values):
        return values
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else np.ones_like(values)
