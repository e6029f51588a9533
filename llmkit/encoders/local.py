"""BERT-family encoders without torch, on the fastest runtime this CPU supports."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from llmkit import cpu, weights
from llmkit.encoders import capabilities
from llmkit.encoders.bert_graph import Pooling, build
from llmkit.encoders.graphs import kept_graph
from llmkit.encoders.identity import identity
from llmkit.encoders.runtimes import Runner, batches, open_runtime
from llmkit.errors import DataError, ModelError
from llmkit.part import Part

_BUDGET = 1024  # tokens of a batch: measured on two cores, larger ones fall out of the cache
_MOST = 64


class LocalEncoder(Part):
    """all-MiniLM-L6-v2, or any BERT-family encoder in a folder of yours, through OpenVINO or ONNX Runtime."""

    family: ClassVar[str] = "encoder"
    type: ClassVar[str] = "local"

    model: str = "minilm"
    """A name of `llmkit models list`, or a folder with config.json, model.safetensors and tokenizer.json."""
    max_tokens: int = Field(default=256, ge=8)
    """Longest text, special tokens included."""
    runtime: Literal["auto", "openvino", "onnxruntime"] = "auto"
    """auto: what the CPU runs fastest, as `llmkit doctor` shows it."""
    precision: Literal["auto", "f32", "bf16"] = "auto"
    """auto: bf16 where the CPU multiplies it, f32 elsewhere."""
    threads: int | None = Field(default=None, ge=1)
    """Threads; none: OMP_NUM_THREADS, or all CPUs."""

    @cached_property
    def folder(self) -> Path:
        """Where the model's files lie.

        Raises:
            ModelError: they do not; says which command brings them.
        """
        folder = weights.find(self.model)
        for name in ("config.json", "model.safetensors", "tokenizer.json"):
            if not (folder / name).is_file():
                raise ModelError(f"{folder} is not an encoder: it has no {name}")
        return folder

    @cached_property
    def choice(self) -> capabilities.Choice:
        """The runtime and precision in use, and why."""
        return capabilities.choose(self.runtime, self.precision)

    @cached_property
    def dim(self) -> int:
        """Length of a vector."""
        return int(self._config["hidden_size"])

    @property
    def identity(self) -> str:
        """``minilm@53aa51172d14/mean/256/bf16``: the revision is the SHA-256 of the weights."""
        name = self.model if self.model in weights.catalogue() else self.folder.name
        return identity(name, self._graph[1][:12], self._pooling, self.max_tokens, self.choice.precision)

    @cached_property
    def special_tokens(self) -> int:
        """Tokens added around every text: [CLS] and [SEP]."""
        return int(self._tokenizer.num_special_tokens_to_add(is_pair=False))

    def token_starts(self, text: str) -> NDArray[np.int64]:
        """Offset of each word piece; see :class:`llmkit.protocols.Tokenizer`."""
        offsets = self._tokenizer.encode(text, add_special_tokens=False).offsets
        return np.fromiter((start for start, _ in offsets), dtype=np.int64, count=len(offsets))

    def unknown_share(self, text: str) -> float:
        """Share of a text's tokens that the vocabulary does not have: the encoder sees a hole in their place."""
        ids = self._tokenizer.encode(text, add_special_tokens=False).ids
        unknown = self._tokenizer.token_to_id("[UNK]")
        return sum(one == unknown for one in ids) / len(ids) if ids and unknown is not None else 0.0

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, dim), unit length. A text longer than max_tokens raises DataError."""
        return self._encode(texts)

    def encode_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, dim), unit length. A text longer than max_tokens raises DataError."""
        return self._encode(texts)

    def _encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        ids = [encoding.ids for encoding in self._tokenizer.encode_batch_fast(list(texts))]
        for row, tokens in enumerate(ids):
            if len(tokens) > self.max_tokens:
                raise DataError(
                    f"text {row} has {len(tokens)} tokens; {self.model} reads {self.max_tokens}: split it first "
                    f"({texts[row][:60]!r} …)"
                )
        vectors = np.empty((len(ids), self.dim), dtype=np.float32)
        if ids:
            self._run(batches(ids, budget=_BUDGET, most=_MOST), vectors)
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)  # bf16 leaves the norm a little off
        return vectors

    @cached_property
    def _config(self) -> dict[str, Any]:
        config: dict[str, Any] = json.loads((self.folder / "config.json").read_text(encoding="utf-8"))
        limit = int(config["max_position_embeddings"])
        if config.get("model_type") != "bert":
            limit -= 2  # RoBERTa keeps two positions for padding
        if self.max_tokens > limit:
            raise ModelError(f"max_tokens {self.max_tokens} is more than the {limit} positions of {self.model}")
        return config

    @cached_property
    def _tokenizer(self) -> Any:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(self.folder / "tokenizer.json"))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer

    @cached_property
    def _pooling(self) -> Pooling:
        file = self.folder / "1_Pooling" / "config.json"
        if not file.is_file():
            return "mean"
        modes = {key for key, on in json.loads(file.read_text(encoding="utf-8")).items() if on is True}
        if "pooling_mode_cls_token" in modes:
            return "cls"
        if "pooling_mode_mean_tokens" in modes:
            return "mean"
        raise ModelError(f"{file}: only mean and cls pooling are built, not {sorted(modes)}")

    @cached_property
    def _graph(self) -> tuple[Path, str]:
        """The ONNX graph, built once a model and kept, and the SHA-256 of the weights it was built from."""
        file = self.folder / "model.safetensors"
        return kept_graph([file], self._pooling, lambda: build(self.folder, self._pooling))

    @cached_property
    def _run(self) -> Runner:
        threads = self.threads or cpu.threads()
        return open_runtime(self.choice.runtime, self._graph[0], self.choice.precision, threads)
