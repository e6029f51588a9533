"""Writing an adapter: whole or not at all, with what it was made from."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from llmkit.errors import DataError
from llmkit.models.local.adapter import CONFIG, RECORD, WEIGHTS


def write_adapter(
    folder: Path, model: Any, record: dict[str, Any], more: dict[str, str], *, half: bool = False
) -> None:
    """Write an adapter's folder in peft's format; what was there before is replaced at the end, in two renames.

    Args:
        folder: where to.
        model: the peft model.
        record: ``llmkit.json``.
        more: further text files by name.
        half: round the matrices to float16.

    Raises:
        DataError: the disk is full or cannot be written; the adapter that was there is as it was.
    """
    import torch
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    dtype = torch.float16 if half else torch.float32
    tensors = {
        name: value.detach().to("cpu", dtype).contiguous() for name, value in get_peft_model_state_dict(model).items()
    }
    if not all(bool(value.isfinite().all()) for value in tensors.values()):
        raise DataError(f"the adapter {folder} holds numbers that float16 has no room for: weights_dtype: f32")
    fresh, old = folder.with_name(f"{folder.name}.new"), folder.with_name(f"{folder.name}.old")
    try:
        recover(folder)
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        save_file(tensors, fresh / WEIGHTS, metadata={"format": "pt"})
        (fresh / WEIGHTS).chmod(0o644)  # safetensors makes files for their owner alone
        texts = {CONFIG: _config(model), RECORD: json.dumps(record, indent=2, ensure_ascii=False) + "\n", **more}
        for name, text in texts.items():
            (fresh / name).write_text(text, encoding="utf-8")
        for path in (*fresh.iterdir(), fresh):
            synced(path)
        if folder.exists():
            folder.rename(old)
        fresh.rename(folder)
        synced(folder.parent)
    except Exception as error:  # safetensors has an error of its own for a full disk
        shutil.rmtree(fresh, ignore_errors=True)
        recover(folder)
        raise DataError(
            f"the adapter {folder} cannot be written: {error}; what was there before is as it was"
        ) from error
    shutil.rmtree(old, ignore_errors=True)


def recover(folder: Path) -> None:
    """Bring back the adapter that was there, where a crash fell between the two renames."""
    old = folder.with_name(f"{folder.name}.old")
    if old.is_dir() and not folder.exists():
        old.rename(folder)


def synced(path: Path) -> None:
    """Have a file's bytes, or a folder's names, on the disk."""
    if os.name != "posix":
        return  # Windows opens no folders, and flushes only what is open for writing
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _config(model: Any) -> str:
    """The configuration of peft as it writes it, without paths of this machine."""
    config = next(iter(model.peft_config.values())).to_dict()
    config["inference_mode"] = True
    config["base_model_name_or_path"] = None  # llmkit.json names the base, by digest
    return json.dumps(config, indent=2, sort_keys=True, default=_plain) + "\n"


def _plain(value: Any) -> Any:
    return sorted(value) if isinstance(value, set | frozenset) else getattr(value, "value", str(value))
