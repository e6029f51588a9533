"""A trained retriever as a folder that is served without torch and records where it comes from.

::

    retriever.json       pooling, prefixes, max_tokens, dim, base: what the encoder `dual` reads
    config.json, tokenizer.json, model.safetensors (or delta.safetensors over the base)     one network for both sides
    query/, passage/     the same, one network for each side
    training.json        the record: data, seeds, settings, figures; loss.svg is its picture
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from llmkit.errors import DataError
from llmkit.training.atomic_write import replace_folder, write_tensors
from llmkit.training.retriever.bi_encoder import BiEncoder
from llmkit.training.retriever.recipe import RetrieverRecipe
from llmkit.weights.store import sha256

MARK = "retriever.json"


def save(folder: Path, model: BiEncoder, base: Path, recipe: RetrieverRecipe) -> None:
    """Write the folder, whole or not at all; a folder of an earlier training is replaced."""
    with replace_folder(folder) as new:
        sides = ["."] if recipe.towers == "shared" else ["query", "passage"]
        for side in sides:
            target = new / side
            target.mkdir(exist_ok=True)
            _tower(target, model.of("passage" if side == "passage" else "query"), base, recipe)
            shutil.copyfile(base / "tokenizer.json", target / "tokenizer.json")
            for name in ("tokenizer_config.json", "special_tokens_map.json", "vocab.txt"):
                if (base / name).is_file():
                    shutil.copyfile(base / name, target / name)
            _sentence_transformers(target, model, recipe)
        (new / MARK).write_text(json.dumps(description(model, base, recipe), indent=2) + "\n", encoding="utf-8")


def description(model: BiEncoder, base: Path, recipe: RetrieverRecipe) -> dict[str, Any]:
    """The content of ``retriever.json``."""
    return {
        "format": 1,
        "name": recipe.name,
        "towers": recipe.towers,
        "pooling": model.pooling,
        "query_prefix": recipe.query_prefix,
        "passage_prefix": recipe.passage_prefix,
        "max_tokens": recipe.max_tokens,
        "dim": recipe.dim,
        "base": {"model": recipe.base, "sha256": sha256(base / "model.safetensors"), "init": recipe.init},
    }


def check_target(folder: Path) -> None:
    """Raise DataError if the folder holds something other than a trained retriever."""
    if folder.exists() and not (folder / MARK).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(
            f"{folder} exists and is not a trained retriever: it will not be overwritten, give another `out`"
        )


def _tower(target: Path, model: Any, base: Path, recipe: RetrieverRecipe) -> None:
    import torch

    (target / "config.json").write_bytes((base / "config.json").read_bytes())
    dtype = torch.float16 if recipe.weights_dtype == "f16" else torch.float32
    if recipe.weights == "changed":
        tensors, header = _changed(model, base, recipe)
        header |= {"base": recipe.base, "base_sha256": sha256(base / "model.safetensors")}
        name = "delta.safetensors"
    else:
        plain = model.merge_and_unload() if recipe.lora else model
        tensors, header, name = dict(plain.state_dict()), {"format": "pt"}, "model.safetensors"
    tensors = {key: value.to(dtype) if value.is_floating_point() else value for key, value in tensors.items()}
    write_tensors(target / name, tensors, header)


def _changed(model: Any, base: Path, recipe: RetrieverRecipe) -> tuple[dict[str, Any], dict[str, str]]:
    """The low-rank updates, or the tensors that differ from the base, under the names that the base has for them."""
    import torch
    from safetensors.torch import load_file

    known = load_file(base / "model.safetensors")
    prefix = next((p for p in ("", "bert.", "roberta.") if f"{p}embeddings.word_embeddings.weight" in known), "")
    if recipe.lora:
        found = {}
        for name, value in model.named_parameters():
            for letter in ("A", "B"):
                if f".lora_{letter}." in name:
                    stem = name.removeprefix("base_model.model.").partition(f".lora_{letter}.")[0]
                    found[f"{prefix}{stem}.weight.lora_{letter}"] = value.detach()
        return found, {"scale": repr(recipe.lora.alpha / recipe.lora.rank)}
    state = {prefix + name: value for name, value in model.state_dict().items()}
    return {n: v for n, v in state.items() if n not in known or not torch.equal(v.cpu(), known[n].to(v.dtype))}, {}


def _sentence_transformers(target: Path, model: BiEncoder, recipe: RetrieverRecipe) -> None:
    """Write the files by which sentence-transformers opens a folder with full weights."""
    pooling = {"word_embedding_dimension": model.hidden} | {
        f"pooling_mode_{name}": model.pooling == word
        for name, word in (("cls_token", "cls"), ("mean_tokens", "mean"), ("max_tokens", "max"))
    }
    (target / "1_Pooling").mkdir(exist_ok=True)
    (target / "1_Pooling" / "config.json").write_text(json.dumps(pooling), encoding="utf-8")
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
    ]
    (target / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    limits = {"max_seq_length": recipe.max_tokens, "do_lower_case": False}
    (target / "sentence_bert_config.json").write_text(json.dumps(limits), encoding="utf-8")
    prompts = {"query": recipe.query_prefix, "document": recipe.passage_prefix}
    settings = {"prompts": prompts, "default_prompt_name": None, "truncate_dim": recipe.dim}
    (target / "config_sentence_transformers.json").write_text(json.dumps(settings), encoding="utf-8")
