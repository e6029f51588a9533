"""An adapter put into its base for good: ``W + scale · B A``, as safetensors or as GGUF.

The GGUF is written from the base's own file without torch: what the adapter does not touch is copied byte for byte,
tokenizer and chat template included; what it touches is dequantised, added to, and written in the type asked for.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from llmkit.errors import ModelError
from llmkit.extras import need, optional
from llmkit.models.local.adapter import WEIGHTS, Adapter
from llmkit.models.local.gguf_adapter import matrices
from llmkit.models.local.transformers import check_keys

Kind = Literal["f32", "f16", "bf16", "q8_0", "q4_0", "q4_1"]


def merge(model: Any, adapter: Adapter) -> Any:
    """The plain model with the adapter added to its weights; `model` should be in float32.

    Raises:
        ModelError: the adapter's matrices do not fit the model, or the sum is not finite.
    """
    peft = need("peft", feature="merging of adapters", extra="train")
    adapted = peft.PeftModel.from_pretrained(model, str(adapter.folder))
    check_keys(adapted, "default", adapter)
    try:
        merged = adapted.merge_and_unload(safe_merge=True)
    except ValueError as error:
        raise ModelError(f"{adapter.folder} cannot be merged: {error}") from error
    if hasattr(merged, "peft_config"):
        del merged.peft_config
    return merged


def merge_gguf(adapter: Adapter, base: Path, path: Path, kind: Kind) -> int:
    """Write the merged model as GGUF; returns how many tensors were changed.

    Args:
        adapter: not DoRA.
        base: the GGUF file it belongs to.
        path: where to.
        kind: type of the tensors that are changed; those that are not keep theirs.

    Raises:
        ModelError: the adapter's matrices are not in the file, or have another shape.
    """
    with optional():
        import gguf

    pairs = matrices(adapter)
    reader = gguf.GGUFReader(base)
    writer = gguf.GGUFWriter(path, str(reader.fields["general.architecture"].contents()))
    for field in reader.fields.values():
        if field.name != "general.architecture" and not field.name.startswith("GGUF."):
            inner = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(field.name, field.contents(), field.types[0], sub_type=inner)
    wanted = gguf.GGMLQuantizationType[kind.upper()]
    changed = 0
    for tensor in reader.tensors:
        pair = pairs.pop(str(tensor.name).removesuffix(".weight"), None)
        if pair is None:
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
            continue
        weight = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        a, b = pair
        if weight.shape != (b.shape[0], a.shape[1]):
            raise ModelError(f"{base}: {tensor.name} is {weight.shape}, the adapter's is {(b.shape[0], a.shape[1])}")
        merged: NDArray[np.float32] = weight + adapter.scale * (b @ a)
        writer.add_tensor(tensor.name, gguf.quants.quantize(merged, wanted), raw_dtype=wanted)
        changed += 1
    if pairs:
        raise ModelError(f"{adapter.folder / WEIGHTS}: {base} has no {', '.join(sorted(pairs)[:4])}")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with path.open("r+b") as file:
        os.fsync(file.fileno())
    return changed
