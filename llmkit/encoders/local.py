"""BERT-family encoders without torch, on the fastest runtime this CPU supports."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from llmkit import weights
from llmkit.arguments import many_texts
from llmkit.encoders.bilingual_dictionary import Dictionaries
from llmkit.encoders.identity import identity
from llmkit.encoders.runtime import capabilities
from llmkit.encoders.runtime.selection import CheckedGraph
from llmkit.encoders.tower import Tower
from llmkit.part import Part


class LocalEncoder(Part):
    """all-MiniLM-L6-v2, or any BERT-family encoder in a folder of yours, through OpenVINO or ONNX Runtime."""

    family: ClassVar[str] = "encoder"
    type: ClassVar[str] = "local"

    model: str = "minilm"
    """A model of `llmkit models list`, or a folder with config.json, model.safetensors and tokenizer.json."""
    max_tokens: int = Field(default=256, ge=8)
    """Longest text in tokens, special tokens included."""
    words: Dictionaries = ()
    """Bilingual dictionaries for words that the model does not know: ``de`` or ``es``, which come with llmkit, or TSV
    files with the columns WORD, TRANSLATION and optionally WEIGHT."""
    runtime: Literal["auto", "openvino", "onnxruntime"] = "auto"
    """auto: the fastest runtime that passes its self-check; `llmkit doctor` shows it."""
    precision: Literal["auto", "f32", "bf16"] = "auto"
    """auto: bf16 if the CPU has bfloat16 arithmetic and bf16 passes its self-check, otherwise f32."""
    threads: int | None = Field(default=None, ge=1)
    """Number of threads; none: OMP_NUM_THREADS, or all CPUs."""

    @cached_property
    def folder(self) -> Path:
        """The model's folder.

        Raises:
            ModelError: a file is missing; the message gives the command that downloads the model.
        """
        folder = weights.find(self.model)
        self._tower_of(folder).check_files()
        return folder

    @property
    def choice(self) -> capabilities.Choice:
        """The runtime and precision in use, and why."""
        return self._tower.selection.choice

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know: a faster runtime or precision that failed its check on this machine."""
        return self._tower.selection.notes

    @property
    def checked_graph(self) -> CheckedGraph:
        """The graph with what its self-check needs."""
        return self._tower.checked_graph

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self._tower.dim

    @property
    def identity(self) -> str:
        """``minilm@53aa51172d14/mean/256/bf16``: the revision is the SHA-256 of the weights."""
        name = self.model if self.model in weights.catalogue() else self.folder.name
        tower = self._tower
        return identity(name, tower.digest[:12], tower.pooling, self.max_tokens, self.choice.precision)

    @property
    def special_tokens(self) -> int:
        """Tokens added around every text: [CLS] and [SEP]."""
        return self._tower.special_tokens

    def token_starts(self, text: str) -> NDArray[np.int64]:
        """Offset of each word piece; see :class:`llmkit.protocols.Tokenizer`."""
        return self._tower.token_starts(text)

    def unknown_share(self, text: str) -> float:
        """Share of the tokens of a text that are not in the vocabulary and are read as ``[UNK]``, from 0 to 1."""
        return self._tower.unknown_share(text)

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embeddings of questions, (n, dim), unit length. A text longer than max_tokens raises DataError."""
        many_texts(texts, "texts")
        return self._tower.encode(texts)

    def encode_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embeddings of passages, (n, dim), unit length. A text longer than max_tokens raises DataError."""
        many_texts(texts, "texts")
        return self._tower.encode(texts)

    @cached_property
    def _tower(self) -> Tower:
        return self._tower_of(self.folder)

    def _tower_of(self, folder: Path) -> Tower:
        return Tower(folder, self.max_tokens, self.runtime, self.precision, self.threads, dictionaries=self.words)
