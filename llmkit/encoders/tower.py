"""One BERT-family encoder without torch: tokenizer, graph and runtime. Base of the local and the dual encoder."""

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
from llmkit.encoders.bilingual_dictionary import Translations, read_dictionaries
from llmkit.encoders.runtime import tensors
from llmkit.encoders.runtime.bert_graph import Pooling, Table, build, read_encoder_config, write_encoder
from llmkit.encoders.runtime.graph_cache import load_or_build_graph
from llmkit.encoders.runtime.numpy_graph import NumpyGraph, evaluate
from llmkit.encoders.runtime.runtimes import Batch, batches
from llmkit.encoders.runtime.selection import TEXTS, CheckedGraph, Selection, select
from llmkit.errors import DataError, ModelError
from llmkit.weights.self_check import compare_vectors

_MAX_BATCH_TOKENS = 1024  # measured on two cores, larger ones fall out of the cache
_MAX_TEXTS = 64


@dataclass(frozen=True)
class Tower:
    """An encoder folder and the settings it is read with."""

    folder: Path
    max_tokens: int
    runtime: str = "auto"
    """``auto``, ``openvino`` or ``onnxruntime``."""
    precision: str = "auto"
    """``auto``, ``f32`` or ``bf16``."""
    threads: int | None = None
    pooling_override: Pooling | None = None
    """None: as in the folder's configuration."""
    normalize: bool = True
    """Whether vectors get unit length."""
    prefix: str = ""
    """Text before every text that is encoded."""
    strict: bool = False
    """Whether every tensor of the file must be used; true for files that `llmkit train retriever` wrote."""
    dictionaries: tuple[str, ...] = ()
    """Bilingual dictionaries, by name or file."""

    def check_files(self) -> None:
        """Raise ModelError if a file is missing."""
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
        """The contents of config.json.

        Raises:
            ModelError: a file is missing, or max_tokens is more than the model can read.
        """
        self.check_files()
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
        """How token vectors become one: the override, else the folder's configuration, else mean (cls for DPR)."""
        if self.pooling_override is not None:
            return self.pooling_override
        file = self.folder / "1_Pooling" / "config.json"
        if not file.is_file():
            return "cls" if self.config.get("model_type") == "dpr" else "mean"
        return read_pooling(file)

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer, without truncation and padding, with the words of the dictionaries added."""
        tokenizer = self._plain_tokenizer()
        if self.translations is not None:
            self.translations.add_tokens(tokenizer)
        return tokenizer

    @cached_property
    def translations(self) -> Translations | None:
        """The entries of the dictionaries; None without dictionaries."""
        return read_dictionaries(self.dictionaries) if self.dictionaries else None

    @cached_property
    def special_tokens(self) -> int:
        """Number of tokens added to every text: [CLS], [SEP] and the tokens of the prefix."""
        prefix = len(self.tokenizer.encode(self.prefix, add_special_tokens=False).ids) if self.prefix else 0
        return int(self.tokenizer.num_special_tokens_to_add(is_pair=False)) + prefix

    def token_starts(self, text: str) -> NDArray[np.int64]:
        """Offset of each word piece; see :class:`llmkit.protocols.Tokenizer`."""
        offsets = self.tokenizer.encode(text, add_special_tokens=False).offsets
        return np.fromiter((start for start, _ in offsets), dtype=np.int64, count=len(offsets))

    def unknown_share(self, text: str) -> float:
        """Share of the tokens of a text that are not in the vocabulary, from 0 to 1."""
        ids = self.tokenizer.encode(text, add_special_tokens=False).ids
        unknown = self.tokenizer.token_to_id("[UNK]")
        return sum(one == unknown for one in ids) / len(ids) if ids and unknown is not None else 0.0

    @property
    def digest(self) -> str:
        """SHA-256 of the weights, hex; with dictionaries, of weights and dictionaries."""
        plain = self._graph[1]
        return (
            plain
            if self.translations is None
            else hashlib.sha256(f"{plain} {self.translations.digest}".encode()).hexdigest()
        )

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embeddings, (n, dim).

        Raises:
            DataError: a text is longer than max_tokens.
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
            self.selection.run(batches(ids, budget=_MAX_BATCH_TOKENS, max_texts=_MAX_TEXTS), vectors)
        if self.normalize:
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
        return list(batches(ids, budget=_MAX_BATCH_TOKENS, max_texts=_MAX_TEXTS))

    def _check_reference(self, work: list[Batch]) -> NDArray[np.float32]:
        """The vectors that come with the weights; for other weights, those that NumPy computes."""
        if self.normalize and not self.dictionaries:
            shipped = weights.reference_vectors(self._graph[1], self.pooling)
            if shipped is not None:
                return shipped

        def build(inputs: dict[str, NDArray[Any]]) -> NumpyGraph:
            graph = NumpyGraph(self.folder, read_encoder_config(self.folder), tensors.load(self.folder), inputs)
            write_encoder(graph, self.pooling, normalize=self.normalize, embedding_table=self._embedding_table)
            return graph

        return evaluate(work, build, self.dim)

    @property
    def _settings(self) -> str:
        """What shapes the graph beside the weights."""
        config = hashlib.sha256((self.folder / "config.json").read_bytes()).hexdigest()
        return f"{self.pooling} {self.normalize} {config}" + (
            f" {self.translations.digest}" if self.translations else ""
        )

    @cached_property
    def _graph(self) -> tuple[Path, str]:
        """The ONNX graph and the SHA-256 of the weights that it was built from."""
        self.check_files()
        file = tensors.file_of(self.folder)
        assert file is not None  # check_files() has looked
        strict = self.strict and file.name == "model.safetensors"
        return load_or_build_graph(
            [file],
            self._settings,
            lambda: build(
                self.folder,
                self.pooling,
                normalize=self.normalize,
                strict=strict,
                embedding_table=self._embedding_table,
            ),
        )

    @property
    def _embedding_table(self) -> Table | None:
        translations = self.translations
        return (
            None
            if translations is None
            else lambda table: translations.extend_embeddings(table, self._plain_tokenizer())
        )

    def _plain_tokenizer(self) -> Any:
        from tokenizers import Tokenizer

        self.check_files()
        tokenizer = Tokenizer.from_file(str(self.folder / "tokenizer.json"))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer


def _positions(config: dict[str, Any]) -> int:
    """How many tokens the model can place."""
    limit = int(config["max_position_embeddings"])
    return limit if config.get("model_type") in ("bert", "dpr") else limit - 2  # RoBERTa keeps two for padding


def read_pooling(file: Path) -> Pooling:
    """Read the pooling from a sentence-transformers ``1_Pooling/config.json``, in its old or its new form.

    Raises:
        ModelError: the pooling is not mean, cls or max.
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
