"""Write an adapter's folder, whole or not at all, with the record of what it was made from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmkit.errors import DataError
from llmkit.models.local.adapter import CONFIG, RECORD, WEIGHTS
from llmkit.training.atomic_write import replace_folder


def write_adapter(
    folder: Path, model: Any, record: Mapping[str, Any], texts: Mapping[str, str], *, half: bool = False
) -> None:
    """Write an adapter in peft's format; an adapter that was at `folder` is replaced at the end.

    Args:
        folder: the folder to write.
        model: the peft model.
        record: the content of ``llmkit.json``.
        texts: further text files by name.
        half: round the matrices to float16.

    Raises:
        DataError: the disk is full or cannot be written, or a number is too large for float16. The old adapter is
            unchanged.
    """
    import torch
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    dtype = torch.float16 if half else torch.float32
    tensors = {
        name: value.detach().to("cpu", dtype).contiguous() for name, value in get_peft_model_state_dict(model).items()
    }
    if not all(bool(value.isfinite().all()) for value in tensors.values()):
        raise DataError(f"the adapter {folder} has numbers that are too large for float16: set weights_dtype: f32")
    with replace_folder(folder) as new:
        save_file(tensors, new / WEIGHTS, metadata={"format": "pt"})
        files = {CONFIG: _config(model), RECORD: json.dumps(record, indent=2, ensure_ascii=False) + "\n", **texts}
        for name, text in files.items():
            (new / name).write_text(text, encoding="utf-8")


def _config(model: Any) -> str:
    """The configuration as peft writes it, without paths of this machine."""
    config = next(iter(model.peft_config.values())).to_dict()
    config["inference_mode"] = True
    config["base_model_name_or_path"] = None  # llmkit.json names the base by its digest
    return json.dumps(config, indent=2, sort_keys=True, default=_plain) + "\n"


def _plain(value: Any) -> Any:
    return sorted(value) if isinstance(value, set | frozenset) else getattr(value, "value", str(value))
