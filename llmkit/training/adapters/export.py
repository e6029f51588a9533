"""``llmkit train export``: an adapter in the form that another runtime reads, with its parity measured."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from llmkit import cpu, weights
from llmkit.errors import ConfigError, DataError, MissingExtra, ModelError
from llmkit.models.local.adapter import Adapter, read_adapter
from llmkit.models.local.engine import Engine, Turn
from llmkit.models.local.gguf_adapter import write_gguf
from llmkit.models.local.llamacpp import LlamaCppEngine
from llmkit.training.adapters.merge import Kind, merge, merge_gguf
from llmkit.training.adapters.parity import PROMPTS, Parity, as_record, parity

Form = Literal["safetensors", "gguf-adapter", "gguf"]
_CONTEXT = 2048

MIN_AGREEMENT = 0.75
"""Share of the text of the greedy answers that must be the same, unless the caller says otherwise."""


def export(
    folder: str | Path, to: Form, out: Path, *, base: str | None = None, kind: Kind = "f16", limit: float = 0.5,
    min_agreement: float = MIN_AGREEMENT, prompts: Sequence[Sequence[Turn]] = PROMPTS,
) -> dict[str, Any]:  # fmt: skip
    """Write an adapter in another form, and compare it with the adapter on its base.

    Args:
        folder: the adapter.
        to: merged safetensors, an adapter for llama.cpp, or a merged GGUF file.
        out: folder (safetensors) or file to write; it must not exist.
        base: path of the base, if it is not where it was at the training.
        kind: for a merged GGUF, the type of the tensors that are changed.
        limit: largest difference of a first token's log probability that is accepted.
        min_agreement: smallest share of the greedy answers that must be the same, from 0 to 1.
        prompts: what the two are compared on.

    Returns:
        The record that is written beside it: forms, digests, parity.

    Raises:
        ConfigError: `out` exists.
        ModelError: another base, a form that this adapter cannot have, or an export that answers differently; nothing
            is written then.
    """
    adapter = read_adapter(folder)
    if out.exists():
        raise ConfigError(f"{out} is there already: name another place, or remove it")
    source = _base_of(adapter, base)
    adapter.check_base(source)
    out.parent.mkdir(parents=True, exist_ok=True)
    fresh = out.with_name(f"{out.name}.tmp")
    _remove(fresh)
    try:
        if to == "safetensors":
            found = _safetensors(adapter, source, fresh, prompts)
        else:
            if source.is_dir():
                raise ModelError(
                    f"{adapter.folder} was trained on safetensors ({source}): give the GGUF file of the same weights "
                    "as --base, or export safetensors and convert those with llama.cpp's convert_hf_to_gguf.py"
                )
            found = _gguf(adapter, source, fresh, to, kind, prompts)
        if found.difference > limit or found.agreement < min_agreement:
            finer = f"Use a finer type than {kind}, keep" if to == "gguf" else "Keep"
            raise ModelError(
                f"the exported model differs too much from the adapter on its base: a first token's log probability by "
                f"{found.difference:.2f} (limit {limit}), {found.identical} of {found.prompts} greedy answers equal "
                f"and {found.agreement:.0%} of their text (at least {min_agreement:.0%}). {finer} the adapter apart "
                "(--to gguf-adapter), or accept less with --limit and --min-agreement"
            )
        record = {
            "adapter": adapter.digest,
            "base": adapter.record["base"],
            "form": to,
            "kind": kind if to == "gguf" else None,
            "parity": as_record(found),
        }
        target = fresh / "llmkit.json" if fresh.is_dir() else out.with_name(f"{out.name}.json")
        target.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        fresh.rename(out)
    except OSError as error:
        raise DataError(f"{out} cannot be written: {error}") from error
    finally:
        _remove(fresh)
    return record


def _safetensors(adapter: Adapter, source: Path, fresh: Path, prompts: Sequence[Sequence[Turn]]) -> Parity:
    import torch

    from llmkit.models.local.transformers import TransformersEngine, open_causal
    from llmkit.training.adapters.base_model import dequantised

    folder = source if source.is_dir() else dequantised(source)
    model, tokenizer, _ = open_causal(str(folder), dtype=torch.float32)
    merge(model, adapter).save_pretrained(fresh)
    tokenizer.save_pretrained(fresh)
    plain, _, _ = open_causal(str(folder), dtype=torch.float32)
    reference = TransformersEngine(plain, tokenizer, context=_CONTEXT)
    reference.with_adapters({"default": adapter})
    again, words, _ = open_causal(str(fresh), dtype=torch.float32)
    return parity(reference, TransformersEngine(again, words, context=_CONTEXT), prompts, ("default", None))


def _gguf(
    adapter: Adapter, source: Path, fresh: Path, to: Form, kind: Kind, prompts: Sequence[Sequence[Turn]]
) -> Parity:
    reference = _reference(adapter, source)
    if to == "gguf":
        merge_gguf(adapter, source, fresh, kind)
        return parity(
            reference, LlamaCppEngine(fresh, context=_CONTEXT, threads=cpu.threads()), prompts, ("default", None)
        )
    write_gguf(adapter, fresh)
    other = LlamaCppEngine(source, context=_CONTEXT, threads=cpu.threads())
    other.with_files({"default": fresh})
    return parity(reference, other, prompts, ("default", "default"))


def _reference(adapter: Adapter, source: Path) -> Engine:
    """The adapter on its base as transformers computes it in float32; llama.cpp where torch is not installed."""
    try:
        import torch

        from llmkit.models.local.transformers import TransformersEngine, open_causal
        from llmkit.training.adapters.base_model import dequantised

        model, tokenizer, _ = open_causal(str(dequantised(source)), dtype=torch.float32)
        engine: Engine = TransformersEngine(model, tokenizer, context=_CONTEXT)
    except (ImportError, MissingExtra):
        engine = LlamaCppEngine(source, context=_CONTEXT, threads=cpu.threads())
    engine.with_adapters({"default": adapter})
    return engine


def _base_of(adapter: Adapter, given: str | None) -> Path:
    name = str(given or adapter.record["base"]["name"])
    return weights.find(name.removeprefix("local:").removeprefix("transformers:"))


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
