"""A BERT-family encoder as an ONNX graph, built straight from its safetensors: no torch, no exporter.

::

    ids ─ word + position + type embeddings ─ LayerNorm ─┐
                                                         │  x layers
        ┌── Q·Kᵀ/√d + mask ─ softmax ─ ·V ─ dense ─ + ─ LayerNorm ─ dense ─ GELU ─ dense ─ + ─ LayerNorm
        │
        └── mean or maximum over the mask, or the first token ─ unit length ─► embedding

The graph takes ``input_ids`` and ``attention_mask``, int64 (batch, length), and gives ``embedding``, float32
(batch, hidden). Devlin et al. 2019; mean pooling and normalisation as in Reimers & Gurevych 2019.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from llmkit.encoders.runtime import onnx_file, tensors
from llmkit.errors import ModelError

Pooling = Literal["mean", "cls", "max"]
Table = Callable[[NDArray[Any]], NDArray[Any]]
"""A function from word embeddings, (tokens, hidden), to the word embeddings that the graph gets."""
_FAMILY = {"bert", "roberta", "xlm-roberta", "dpr"}
_PREFIXES = ("", "bert.", "roberta.", "question_encoder.bert_model.", "ctx_encoder.bert_model.")


def build(
    folder: Path,
    pooling: Pooling,
    *,
    normalize: bool = True,
    strict: bool = False,
    embedding_table: Table | None = None,
) -> bytes:
    """Build the ONNX graph of the encoder in `folder` (``config.json``, ``model.safetensors``) and serialise it.

    Checkpoints of Facebook's DPR are read too; their BERT is below ``question_encoder.bert_model.`` or
    ``ctx_encoder.bert_model.``.

    Args:
        folder: folder of the encoder.
        pooling: how token vectors become one.
        normalize: give vectors of unit length; False for models trained with the inner product.
        strict: refuse a file with tensors that the encoder does not use; other files may hold heads for other tasks.
        embedding_table: changes the word embeddings.

    Raises:
        ModelError: an architecture that is not BERT's, a tensor that is missing, or one too many.
    """
    graph = BertGraph(folder, read_encoder_config(folder), tensors.load(folder))
    return write_encoder(graph, pooling, normalize=normalize, strict=strict, embedding_table=embedding_table)


def write_encoder(
    graph: BertGraph,
    pooling: Pooling,
    *,
    normalize: bool = True,
    strict: bool = False,
    embedding_table: Table | None = None,
) -> bytes:
    """Write an encoder into an empty graph and serialise it; arguments and errors as for :func:`build`."""
    if embedding_table is not None:
        name = f"{graph.prefix}embeddings.word_embeddings.weight"
        graph.tensors[name] = embedding_table(graph.tensors[name])
    serialized = graph.encoder(pooling, normalize)
    unused = sorted(set(graph.tensors) - graph.used)
    if strict and unused:
        file = tensors.file_of(graph.folder)
        raise ModelError(f"{file} has the tensor {unused[0]!r}, which this encoder does not use")
    return serialized


def read_encoder_config(folder: Path) -> dict[str, Any]:
    """Read the ``config.json`` of an encoder without a head.

    Raises:
        ModelError: an architecture that the graph cannot hold, or a DPR encoder with a projection.
    """
    config = read_config(folder)
    if config.get("projection_dim"):
        raise ModelError(
            f"{folder} is a DPR encoder with a projection (projection_dim {config['projection_dim']}), which the "
            f"torch-free runtime does not build"
        )
    return config


def read_config(folder: Path) -> dict[str, Any]:
    """Read ``config.json``.

    Raises:
        ModelError: the graph cannot hold this architecture.
    """
    config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    kind, activation = config.get("model_type"), config.get("hidden_act", "gelu")
    if kind not in _FAMILY or activation != "gelu" or config.get("position_embedding_type", "absolute") != "absolute":
        raise ModelError(
            f"{folder}: the torch-free runtime reads BERT-family encoders with GELU and absolute positions, not "
            f"{kind!r} with {activation!r}; use {{type: sentence-transformer, model: {folder}}} instead"
        )
    return config


class BertGraph:
    """A graph under construction: each method adds nodes and returns the name of the value that they compute."""

    def __init__(self, folder: Path, config: dict[str, Any], values: dict[str, Any]) -> None:
        self.folder, self.config, self.tensors = folder, config, values
        self.prefix = next((p for p in _PREFIXES if f"{p}embeddings.word_embeddings.weight" in self.tensors), "")
        self.used: set[str] = set()
        self.nodes: list[bytes] = []
        self.constants: list[bytes] = []
        self.count = 0

    def encoder(self, pooling: Pooling, normalize: bool) -> bytes:
        """Add a whole encoder and serialise the graph."""
        pooled = self.pooled(self.trunk(), pooling)
        if normalize:
            length = self.op("ReduceL2", pooled, self.const(np.array([-1], np.int64)), keepdims=1)
            pooled = self.op("Div", pooled, self.op("Max", length, self.const(np.float32(1e-12))))
        shape: list[str | int] = ["batch", int(self.config["hidden_size"])]
        return self.finish(["input_ids", "attention_mask"], pooled, "embedding", shape)

    def trunk(self, *, pairs: bool = False) -> str:
        """Token states of the last layer, (batch, length, hidden); with `pairs`, ``token_type_ids`` are read."""
        x = self.embeddings(pairs)
        bias = self.mask_bias()
        for layer in range(int(self.config["num_hidden_layers"])):
            x = self.layer(f"encoder.layer.{layer}", x, bias)
        return x

    def finish(self, inputs: list[str], result: str, name: str, shape: list[str | int]) -> bytes:
        """Name the result, declare inputs (int64, batch x length) and output (float32), and serialise the graph."""
        self.nodes.append(onnx_file.node("Identity", [result], [name]))
        read = [onnx_file.value_info(one, onnx_file.INT64, ["batch", "length"]) for one in inputs]
        given = [onnx_file.value_info(name, onnx_file.FLOAT, shape)]
        return onnx_file.model(self.nodes, self.constants, read, given)

    def embeddings(self, pairs: bool) -> str:
        """Word, position and type embeddings, normalised."""
        words = self.op("Gather", self.weight("embeddings.word_embeddings.weight"), "input_ids", axis=0)
        length = self.op("Gather", self.op("Shape", "input_ids"), self.const(np.int64(1)), axis=0)
        if self.config["model_type"] in ("bert", "dpr"):
            positions = self.op("Range", self.const(np.int64(0)), length, self.const(np.int64(1)))
            placed = self.op("Gather", self.weight("embeddings.position_embeddings.weight"), positions, axis=0)
        else:  # RoBERTa counts positions of real tokens, from pad + 1
            pad = int(self.config["pad_token_id"])
            seen = self.op("CumSum", "attention_mask", self.const(np.int64(1)))
            positions = self.op("Add", self.op("Mul", seen, "attention_mask"), self.const(np.int64(pad)))
            placed = self.op("Gather", self.weight("embeddings.position_embeddings.weight"), positions, axis=0)
        types = self.tensor("embeddings.token_type_embeddings.weight")
        typed = self.op("Gather", self.const(types), "token_type_ids", axis=0) if pairs else self.const(types[0])
        total = self.op("Add", self.op("Add", words, placed), typed)
        return self.norm("embeddings.LayerNorm", total)

    def mask_bias(self) -> str:
        """0 where a token is, a large negative number where padding is: (batch, 1, 1, length)."""
        mask = self.op("Cast", "attention_mask", to=onnx_file.FLOAT)
        wide = self.op("Unsqueeze", mask, self.const(np.array([1, 2], np.int64)))
        absent = self.op("Sub", self.const(np.float32(1.0)), wide)
        return self.op("Mul", absent, self.const(np.float32(-1e9)))

    def layer(self, name: str, x: str, bias: str) -> str:
        """Attention and feed-forward of one layer."""
        heads = int(self.config["num_attention_heads"])
        size = int(self.config["hidden_size"]) // heads
        split = self.const(np.array([0, 0, heads, size], np.int64))

        def project(which: str, perm: list[int]) -> str:
            flat = self.dense(f"{name}.attention.self.{which}", x)
            return self.op("Transpose", self.op("Reshape", flat, split), perm=perm)

        query, key = project("query", [0, 2, 1, 3]), project("key", [0, 2, 3, 1])
        value = project("value", [0, 2, 1, 3])
        scores = self.op("Mul", self.op("MatMul", query, key), self.const(np.float32(1 / math.sqrt(size))))
        weights = self.op("Softmax", self.op("Add", scores, bias), axis=-1)
        mixed = self.op("Transpose", self.op("MatMul", weights, value), perm=[0, 2, 1, 3])
        joined = self.op("Reshape", mixed, self.const(np.array([0, 0, heads * size], np.int64)))
        attended = self.dense(f"{name}.attention.output.dense", joined)
        x = self.norm(f"{name}.attention.output.LayerNorm", self.op("Add", attended, x))
        inner = self.gelu(self.dense(f"{name}.intermediate.dense", x))
        return self.norm(f"{name}.output.LayerNorm", self.op("Add", self.dense(f"{name}.output.dense", inner), x))

    def pooled(self, x: str, pooling: Pooling) -> str:
        """Pool token states into one vector for each text, (batch, hidden)."""
        if pooling == "cls":
            return self.op("Gather", x, self.const(np.int64(0)), axis=1)
        return self.mean(x) if pooling == "mean" else self.maximum(x)

    def maximum(self, x: str) -> str:
        """Maximum over the tokens that the mask shows."""
        mask = self.op("Cast", "attention_mask", to=onnx_file.FLOAT)
        wide = self.op("Unsqueeze", mask, self.const(np.array([-1], np.int64)))
        absent = self.op("Mul", self.op("Sub", self.const(np.float32(1.0)), wide), self.const(np.float32(-1e9)))
        return self.op("ReduceMax", self.op("Add", x, absent), self.const(np.array([1], np.int64)), keepdims=0)

    def mean(self, x: str) -> str:
        """Mean over the tokens that the mask shows."""
        mask = self.op("Cast", "attention_mask", to=onnx_file.FLOAT)
        wide = self.op("Unsqueeze", mask, self.const(np.array([-1], np.int64)))
        axis = self.const(np.array([1], np.int64))
        total = self.op("ReduceSum", self.op("Mul", x, wide), axis, keepdims=0)
        return self.op("Div", total, self.op("ReduceSum", wide, axis, keepdims=0))

    def gelu(self, x: str) -> str:
        """The exact GELU, by erf."""
        erf = self.op("Erf", self.op("Div", x, self.const(np.float32(math.sqrt(2.0)))))
        half = self.op("Mul", x, self.op("Add", erf, self.const(np.float32(1.0))))
        return self.op("Mul", half, self.const(np.float32(0.5)))

    def dense(self, name: str, x: str) -> str:
        """A linear layer by its name."""
        product = self.op("MatMul", x, self.const(np.ascontiguousarray(self.tensor(f"{name}.weight").T)))
        return self.op("Add", product, self.weight(f"{name}.bias"))

    def norm(self, name: str, x: str) -> str:
        """A layer normalisation by its name."""
        old = f"{self.prefix}{name}.gamma" in self.tensors  # the oldest checkpoints call them gamma and beta
        scale, shift = (
            self.tensor(f"{name}.{'gamma' if old else 'weight'}"),
            self.tensor(f"{name}.{'beta' if old else 'bias'}"),
        )
        epsilon = float(self.config.get("layer_norm_eps", 1e-12))
        return self.op("LayerNormalization", x, self.const(scale), self.const(shift), axis=-1, epsilon=epsilon)

    def weight(self, name: str) -> str:
        """A tensor as a constant."""
        return self.const(self.tensor(name))

    def tensor(self, name: str) -> Any:
        """A tensor by its name below the prefix."""
        self.used.add(self.prefix + name)
        try:
            return self.tensors[self.prefix + name]
        except KeyError:
            raise ModelError(f"{tensors.file_of(self.folder)} has no tensor {self.prefix + name!r}") from None

    def const(self, value: Any) -> str:
        """Add a constant; returns its name."""
        value = np.asarray(value)
        if value.dtype in (np.float16, np.float64):
            value = value.astype(np.float32)
        name = self.fresh("c")
        self.constants.append(onnx_file.tensor(name, value))
        return name

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node; returns the name of its result."""
        name = self.fresh(kind)
        self.nodes.append(onnx_file.node(kind, inputs, [name], **attributes))
        return name

    def fresh(self, stem: str) -> str:
        """A name not used before."""
        self.count += 1
        return f"{stem}_{self.count}"
