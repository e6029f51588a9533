"""A peft adapter as GGUF, for llama.cpp. No torch: safetensors are read as NumPy arrays.

llama.cpp keeps the rows of the query and key projections of Llama models in another order than transformers (pairs of
a rotation side by side instead of half a head apart), so the rows of their B are put into that order too.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmkit import weights
from llmkit.errors import ModelError
from llmkit.extras import optional
from llmkit.models.local.adapter import WEIGHTS, Adapter

PERMUTED = {"llama"}
PLAIN = {"qwen2", "qwen3"}
"""Architectures of llama.cpp whose projections keep the order of transformers."""
_KEY = re.compile(r"base_model\.model\.(.+)\.lora_([AB])\.weight")


def as_gguf(adapter: Adapter) -> Path:
    """The adapter as a GGUF file in the cache, written if it is not there yet.

    Raises:
        ModelError: a kind of adapter that GGUF has no form for; says what to do instead.
    """
    path = weights.home() / "adapters" / f"{adapter.digest[:32]}.gguf"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            fresh = Path(folder) / path.name
            write_gguf(adapter, fresh)
            fresh.replace(path)
    return path


def write_gguf(adapter: Adapter, path: Path) -> None:
    """Write the adapter as a GGUF file at `path`.

    Raises:
        ModelError: see :func:`as_gguf`.
    """
    with optional():
        import gguf

    pairs = matrices(adapter)
    writer = gguf.GGUFWriter(path, adapter.record["base"]["shape"]["architecture"])
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", adapter.scale * adapter.rank)
    for name, (a, b) in sorted(pairs.items()):
        writer.add_tensor(f"{name}.weight.lora_a", a)
        writer.add_tensor(f"{name}.weight.lora_b", b)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def matrices(adapter: Adapter) -> dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """A (rank, in) and B (out, rank) of every layer, by its name in GGUF, rows in llama.cpp's order.

    Raises:
        ModelError: a kind of adapter that GGUF has no form for, or a file that is not what it claims.
    """
    with optional():
        import gguf
    from safetensors.numpy import load_file

    merge = f"merge it: llmkit train export {adapter.folder} --to safetensors"
    if adapter.config.get("use_dora"):
        raise ModelError(f"{adapter.folder} is a DoRA adapter, which GGUF has no form for: {merge}")
    if adapter.config.get("modules_to_save") or adapter.config.get("bias", "none") != "none":
        raise ModelError(f"{adapter.folder} holds whole modules or biases beside A and B: {merge}")
    shape = adapter.record["base"].get("shape", {})
    architecture = str(shape.get("architecture"))
    if architecture not in PERMUTED | PLAIN:
        raise ModelError(f"adapters of {architecture!r} models are not written as GGUF: {merge}")
    names = gguf.get_tensor_name_map(_architecture(gguf, architecture), int(shape["layers"]))
    halves: dict[str, dict[str, NDArray[np.float32]]] = {}
    for key, matrix in load_file(adapter.folder / WEIGHTS).items():
        found = _KEY.fullmatch(key)
        name = names.get_name(found.group(1)) if found else None
        if found is None or name is None:
            raise ModelError(f"{adapter.folder / WEIGHTS}: {key} is no LoRA matrix of a {architecture} model")
        rows = matrix.astype(np.float32)
        if rows.ndim != 2 or rows.shape[0 if found.group(2) == "A" else 1] != adapter.rank:
            raise ModelError(f"{adapter.folder / WEIGHTS}: {key} is {rows.shape}, not of rank {adapter.rank}")
        if found.group(2) == "B" and architecture in PERMUTED:
            rows = permuted(rows, found.group(1), int(shape["heads"]), int(shape["kv_heads"]))
        halves.setdefault(name, {})[found.group(2)] = np.ascontiguousarray(rows)
    lone = [f"{name} has no {'B' if 'A' in pair else 'A'}" for name, pair in halves.items() if len(pair) != 2]
    if lone or not halves:
        raise ModelError(f"{adapter.folder / WEIGHTS}: {'; '.join(lone) or 'there are no matrices in it'}")
    return {name: (pair["A"], pair["B"]) for name, pair in halves.items()}


def permuted(rows: NDArray[Any], module: str, heads: int, kv_heads: int) -> NDArray[Any]:
    """Rows of a query or key projection of a Llama model in llama.cpp's order; others as they are."""
    if module.endswith("q_proj"):
        n = heads
    elif module.endswith("k_proj"):
        n = kv_heads
    else:
        return rows
    half = rows.shape[0] // n // 2
    return rows.reshape(n, 2, half, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def _architecture(gguf: Any, name: str) -> Any:
    return next(key for key, value in gguf.MODEL_ARCH_NAMES.items() if value == name)
