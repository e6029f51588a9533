"""The tensors of an encoder folder: whole in ``model.safetensors``, or ``delta.safetensors`` over a named base.

A delta holds only what differs from the base: whole tensors by their name, and low-rank updates as ``NAME.lora_A``
(r, in) and ``NAME.lora_B`` (out, r), which add ``scale · B A`` (Hu et al. 2022). The base's name and SHA-256 stand in
its header.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llmkit import weights
from llmkit.errors import ModelError
from llmkit.weights.store import sha256


def file_of(folder: Path) -> Path | None:
    """The file with the weights, if there is one."""
    return next((file for name in ("model", "delta") if (file := folder / f"{name}.safetensors").is_file()), None)


def load(folder: Path) -> dict[str, Any]:
    """Tensors by name, as NumPy arrays; a delta comes put into its base.

    Raises:
        ModelError: no weights, a base that is missing or has changed, or a delta that does not fit it.
    """
    file = file_of(folder)
    if file is None:
        raise ModelError(f"{folder} has no model.safetensors")
    found = read(file)
    if file.name == "model.safetensors":
        return found
    header = _header(file)
    tensors = read(_base(file, header) / "model.safetensors")
    _apply(tensors, found, float(header.get("scale", "1")), file)
    return tensors


def read(file: Path) -> dict[str, Any]:
    """The tensors of one file by name.

    Raises:
        ModelError: it is missing, or not safetensors.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors: dict[str, Any] = load_file(file)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{file} cannot be read: {error}") from error
    return tensors


def digest(folder: Path) -> str:
    """SHA-256 of the weights, hex: of the one file; the header of a delta names its base by digest, so it is enough."""
    file = file_of(folder)
    if file is None:
        raise ModelError(f"{folder} has no model.safetensors")
    return sha256(file)


def _header(file: Path) -> dict[str, str]:
    from safetensors import safe_open

    with safe_open(file, framework="numpy") as content:
        return dict(content.metadata() or {})


def _base(file: Path, header: dict[str, str]) -> Path:
    name, wanted = header.get("base", ""), header.get("base_sha256", "")
    if not name or not wanted:
        raise ModelError(f"{file} does not name its base: it was not written by llmkit")
    base = weights.find(name)
    found = sha256(base / "model.safetensors")
    if found != wanted:
        raise ModelError(
            f"{file} was trained on {name} with SHA-256 {wanted[:12]}…, but {base} has {found[:12]}…: "
            "bring that base, or train again"
        )
    return base


def _apply(tensors: dict[str, Any], delta: dict[str, Any], scale: float, file: Path) -> None:
    import numpy as np

    for name, value in delta.items():
        target = name.removesuffix(".lora_A").removesuffix(".lora_B")
        if target not in tensors:
            raise ModelError(f"{file} has the tensor {name!r}, which its base does not know")
        if name.endswith(".lora_B"):
            continue
        if name.endswith(".lora_A"):
            if f"{target}.lora_B" not in delta:
                raise ModelError(f"{file} has {name!r} without {target}.lora_B")
            update = delta[f"{target}.lora_B"].astype(np.float32) @ value.astype(np.float32) * np.float32(scale)
            value = tensors[target].astype(np.float32) + update
        if value.shape != tensors[target].shape:
            raise ModelError(f"{file}: {name!r} has shape {value.shape}, its base {tensors[target].shape}")
        tensors[target] = value
    alone = [n for n in delta if n.endswith(".lora_B") and f"{n.removesuffix('.lora_B')}.lora_A" not in delta]
    if alone:
        raise ModelError(f"{file} has {alone[0]!r} without its lora_A")
