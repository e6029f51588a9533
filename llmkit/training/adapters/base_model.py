"""The model an adapter is trained on: by name of the catalogue, GGUF file, folder, or name on the hub.

A GGUF file is dequantised once into the cache, so that training and merging see the very weights it is served with.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmkit import weights
from llmkit.errors import ModelError
from llmkit.extras import need
from llmkit.models.local.adapter import weights_digest
from llmkit.models.local.gguf import trained_context

_ON_HUB = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
"""owner/name; a word without an owner is a name of the catalogue, or a slip that must not go out to the net."""


@dataclass
class Base:
    """A base, opened for training."""

    name: str
    """As it was given."""
    model: Any = field(repr=False)
    tokenizer: Any = field(repr=False)
    folder: Path
    """The safetensors; of a GGUF file its dequantised copy in the cache."""
    gguf: Path | None = None
    """The file it is served from, where it came from one."""

    @property
    def digests(self) -> list[str]:
        """SHA-256 of every form of the weights."""
        return [weights_digest(path) for path in (self.gguf, self.folder) if path is not None]

    @property
    def template_digest(self) -> str:
        """SHA-256 of the chat template."""
        return hashlib.sha256(self.tokenizer.chat_template.encode()).hexdigest()

    @property
    def shape(self) -> dict[str, Any]:
        """What the GGUF form of an adapter must know of its base."""
        settings = self.model.config
        heads = int(settings.num_attention_heads)
        return {
            "architecture": settings.model_type,
            "layers": int(settings.num_hidden_layers),
            "heads": heads,
            "kv_heads": int(getattr(settings, "num_key_value_heads", None) or heads),
        }

    @property
    def ends(self) -> set[int]:
        """Tokens that end an answer."""
        given = self.model.generation_config.eos_token_id
        ends = set(given) if isinstance(given, list) else {given}
        return {int(end) for end in (*ends, self.tokenizer.eos_token_id) if end is not None}


def open_base(name: str, *, dtype: Any = None, quantised: bool = False, threads: int | None = None) -> Base:
    """Open a base.

    Args:
        name: ``smollm2`` (or ``local:smollm2``), a GGUF file, a folder, or ``owner/name`` on the hub.
        dtype: torch's; none: bfloat16 where the processor computes in it, else float32.
        quantised: hold it in 4 bits (Dettmers et al. 2023); needs CUDA.
        threads: of torch; none: OMP_NUM_THREADS, or all CPUs.

    Raises:
        ModelError: not there, damaged, or without a chat template.
        MissingExtra: torch, transformers or peft is not installed.
    """
    for package in ("torch", "transformers", "peft"):
        need(package, feature="training of adapters", extra="train")
    from llmkit.models.local.transformers import open_causal

    how: dict[str, Any] = {"dtype": dtype, "quantised": quantised, "threads": threads}
    plain = name.removeprefix("local:").removeprefix("transformers:")
    path = Path(plain).expanduser()
    on_hub = _ON_HUB.fullmatch(plain) is not None and not path.exists()
    if not on_hub:
        path = weights.find(plain)
    if path.is_file():
        folder = dequantised(path)
        model, tokenizer, _ = open_causal(str(folder), **how)
        return Base(name, model, tokenizer, folder, path)
    try:
        model, tokenizer, folder = open_causal(plain if on_hub else str(path), **how)
    except ModelError as error:
        if not on_hub:
            raise
        raise ModelError(f"{error} (there is no folder {plain}: it was taken for a name on the hub)") from error
    return Base(name, model, tokenizer, folder)


def dequantised(gguf: Path) -> Path:
    """The model of a GGUF file as a folder of float32 safetensors in the cache, made if it is not there.

    Raises:
        ModelError: transformers cannot read this file.
    """
    trained_context(gguf)  # refuses what is not GGUF
    digest = weights_digest(gguf)
    folder = weights.home() / "dequantised" / digest[:32]
    if (folder / "from.json").is_file():
        return folder
    need("gguf", feature="training on a GGUF file", extra="train")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging as progress

    progress.disable_progress_bar()  # type: ignore[no-untyped-call]
    fresh = folder.with_name(f"{folder.name}.tmp")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
        model = AutoModelForCausalLM.from_pretrained(str(gguf.parent), gguf_file=gguf.name, dtype=torch.float32)
    except (OSError, ValueError, KeyError, NotImplementedError) as error:
        shutil.rmtree(fresh, ignore_errors=True)
        raise ModelError(f"{gguf} cannot be dequantised: {error}") from error
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config  # it is not quantised any more
        setattr(model, "hf_quantizer", None)  # noqa: B010
    model.save_pretrained(fresh)
    tokenizer.save_pretrained(fresh)
    (fresh / "from.json").write_text(json.dumps({"gguf": digest}) + "\n", encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)
    return folder
