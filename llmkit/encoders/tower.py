"""One BERT-family encoder without torch: tokenizer, graph and runtime. The local and the dual encoder stand on it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmkit import cpu, weights
from llmkit.encoders.bilingual_dictionary import Words, read
from llmkit.encoders.runtime import tensors
from llmkit.encoders.runtime.bert_graph import Pooling, Table, build, read_encoder_config, write_encoder
from llmkit.encoders.runtime.graphs import kept_graph
from llmkit.encoders.runtime.numpy_graph import NumpyGraph, evaluate
from llmkit.encoders.runtime.runtimes import Batch, batches
from llmkit.encoders.runtime.selection import TEXTS, CheckedGraph, Selection, select
from llmkit.errors import DataError, ModelError
from llmkit.weights.self_check import compare_vectors

_BUDGET = 1024  # tokens of a batch: measured on two cores, larger ones fall out of the cache
_MOST = 64


@dataclass(frozen=True)
class Tower:
    """An encoder folder, and how it is read."""

    folder: Path
    max_tokens: int
    runtime: str = "auto"
    """``auto``, ``openvino`` or ``onnxruntime``."""
    precision: str = "auto"
    """``auto``, ``f32`` or ``bf16``."""
    threads: int | None = None
    pooling_word: Pooling | None = None
    """None: as the folder says."""
    unit: bool = True
    """Vectors of unit length; otherwise as pooled."""
    prefix: str = ""
    """Put before every text."""
    trained: bool = False
    """Written by `llmkit train retriever`: no tensor may be missing, and none be too many."""
    dictionaries: tuple[str, ...] = ()
    """Of words that are read through their translations."""

    def check(self) -> None:
        """Raises ModelError where a file is missing."""
        names = ["config.json", "tokenizer.json"]
        missing = [name for name in names if not (self.folder / name).is_file()]
        if not missing and tensors.file_of(self.folder) is None:
            pickled = (self.folder / "pytorch_model.bin").is_file()
            hint = (
                "; pytorch_model.bin is a pickle, which llmkit never opens: load it with transformers and "
                "save_pretrained(…, safe_serialization=True)"
            )
            raise ModelError(f"{self.folder} is not an encoder: it has no model.safetensors{hint if pickled else ''}")
        if missing:
            raise ModelError(f"{self.folder} is not an encoder: it has no {missing[0]}")

    @cached_property
    def config(self) -> dict[str, Any]:
        """config.json, once the folder and max_tokens are known to fit."""
        self.check()
        config: dict[str, Any] = json.loads((self.folder / "config.json").read_text(encoding="utf-8"))
        limit = _positions(config)
        if self.max_tokens > limit:
            raise ModelError(f"max_tokens {self.max_tokens} is more than the {limit} positions of {self.folder}")
        return config

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return int(self.config["hidden_size"])

    @cached_property
    def pooling(self) -> Pooling:
        """How token vectors become one: as asked for, else as the folder says, else mean (cls for DPR)."""
        if self.pooling_word is not None:
            return self.pooling_word
        file = self.folder / "1_Pooling" / "config.json"
        if not file.is_file():
            return "cls" if self.config.get("model_type") == "dpr" else "mean"
        return pooling_named(file)

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer, which neither cuts nor pads and knows the words of the dictionaries."""
        tokenizer = self._plain_tokenizer()
        if self.words is not None:
            self.words.teach(tokenizer)
        return tokenizer

    @cached_property
    def words(self) -> Words | None:
        """Those of the dictionaries."""
        return read(self.dictionaries) if self.dictionaries else None

    @cached_property
    def special_tokens(self) -> int:
        """Tokens added around every text: [CLS], [SEP] and those of the prefix."""
        prefix = len(self.tokenizer.encode(self.prefix, add_special_tokens=False).ids) if self.prefix else 0
        return int(self.tokenizer.num_special_tokens_to_add(is_pair=False)) + prefix

    def token_starts(self, text: str) -> NDArray[np.int64]:
        """Offset of each word piece; see :class:`llmkit.protocols.Tokenizer`."""
        offsets = self.tokenizer.encode(text, add_special_tokens=False).offsets
        return np.fromiter((start for start, _ in offsets), dtype=np.int64, count=len(offsets))

    def unknown_share(self, text: str) -> float:
        """Share of a text's tokens that the vocabulary does not have."""
        ids = self.tokenizer.encode(text, add_special_tokens=False).ids
        unknown = self.tokenizer.token_to_id("[UNK]")
        return sum(one == unknown for one in ids) / len(ids) if ids and unknown is not None else 0.0

    @property
    def digest(self) -> str:
        """SHA-256 of the weights, hex; with dictionaries, of both."""
        plain = self._graph[1]
        return plain if self.words is None else hashlib.sha256(f"{plain} {self.words.digest}".encode()).hexdigest()

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, dim).

        Raises:
            DataError: a text longer than max_tokens.
        """
        ids = [encoding.ids for encoding in self.tokenizer.encode_batch_fast([self.prefix + text for text in texts])]
        for row, tokens in enumerate(ids):
            if len(tokens) > self.max_tokens:
                raise DataError(
                    f"text {row} has {len(tokens)} tokens; {self.folder.name} reads {self.max_tokens}: split it first "
                    f"({texts[row][:60]!r} …)"
                )
        vectors = np.empty((len(ids), self.dim), dtype=np.float32)
        if ids:
            self.selection.run(batches(ids, budget=_BUDGET, most=_MOST), vectors)
        if self.unit:
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)  # bf16 leaves the norm a little off
        return vectors

    @cached_property
    def selection(self) -> Selection:
        """The runtime and precision in use, checked on this machine.

        Raises:
            UnsupportedPrecision: the precision that was asked for cannot be had here.
            ModelError: no runtime works.
        """
        return select(self.runtime, self.precision, self.checked_graph)

    @cached_property
    def checked_graph(self) -> CheckedGraph:
        """The graph with what its self-check needs."""
        graph, digest = self._graph
        return CheckedGraph(
            name=self.folder.name,
            file=graph,
            weights=digest,
            settings=self._settings,
            prepare=self._check_inputs,
            reference=self._check_reference,
            compare=compare_vectors,
            threads=self.threads or cpu.threads(),
        )

    def _check_inputs(self) -> list[Batch]:
        limit = _positions(self.config)
        ids = [encoding.ids[:limit] for encoding in self.tokenizer.encode_batch_fast(list(TEXTS))]
        return list(batches(ids, budget=_BUDGET, most=_MOST))

    def _check_reference(self, work: list[Batch]) -> NDArray[np.float32]:
        """The vectors that come with the weights; for other weights, those that NumPy computes."""
        if self.unit and not self.dictionaries:
            shipped = weights.reference_vectors(self._graph[1], self.pooling)
            if shipped is not None:
                return shipped

        def build(inputs: dict[str, NDArray[Any]]) -> NumpyGraph:
            graph = NumpyGraph(self.folder, read_encoder_config(self.folder), tensors.load(self.folder), inputs)
            write_encoder(graph, self.pooling, unit=self.unit, words=self._table)
            return graph

        return evaluate(work, build, self.dim)

    @property
    def _settings(self) -> str:
        """What shapes the graph beside the weights."""
        config = hashlib.sha256((self.folder / "config.json").read_bytes()).hexdigest()
        return f"{self.pooling} {self.unit} {config}" + (f" {self.words.digest}" if self.words else "")

    @cached_property
    def _graph(self) -> tuple[Path, str]:
        """The ONNX graph, built once a model and kept, and the SHA-256 of the weights that it was built from."""
        self.check()
        file = tensors.file_of(self.folder)
        assert file is not None  # check() has looked
        whole = self.trained and file.name == "model.safetensors"
        return kept_graph(
            [file],
            self._settings,
            lambda: build(self.folder, self.pooling, unit=self.unit, whole=whole, words=self._table),
        )

    @property
    def _table(self) -> Table | None:
        words = self.words
        return None if words is None else lambda table: words.put_into(table, self._plain_tokenizer())

    def _plain_tokenizer(self) -> Any:
        from tokenizers import Tokenizer

        self.check()
        tokenizer = Tokenizer.from_file(str(self.folder / "tokenizer.json"))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer


def _positions(config: dict[str, Any]) -> int:
    """How many tokens the model can place."""
    limit = int(config["max_position_embeddings"])
    return limit if config.get("model_type") in ("bert", "dpr") else limit - 2  # RoBERTa keeps two for padding


def pooling_named(file: Path) -> Pooling:
    """The pooling of a sentence-transformers ``1_Pooling/config.json``, in its old and its new form.

    Raises:
        ModelError: another one than mean, cls and max.
    """
    config = json.loads(file.read_text(encoding="utf-8"))
    modes = {key.removeprefix("pooling_mode_") for key, on in config.items() if on is True and "pooling_mode" in key}
    modes = modes or {str(config.get("pooling_mode"))}
    names: dict[str, Pooling] = {
        "cls_token": "cls",
        "cls": "cls",
        "mean_tokens": "mean",
        "mean": "mean",
        "max_tokens": "max",
        "max": "max",
    }
    if len(modes) != 1 or not modes <= set(names):
        raise ModelError(f"{file}: only mean, cls and max pooling are built, not {sorted(modes)}")
    return names[modes.pop()]
