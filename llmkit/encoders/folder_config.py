"""Reads the configuration of an encoder folder: trained retriever, sentence-transformers model or Router, BERT."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from llmkit.encoders.runtime.bert_graph import Pooling
from llmkit.encoders.tower import read_pooling
from llmkit.errors import ModelError

_CONFIG_FILE = "retriever.json"
_PASSAGE_ROUTES = ("document", "passage", "corpus")


@dataclass(frozen=True)
class TowerConfig:
    """Configuration of one tower."""

    folder: Path
    pooling: Pooling | None
    """None: the folder does not say."""
    prefix: str = ""
    strict: bool = False
    """Whether the file must hold this tower and nothing else; true for files that llmkit wrote."""


@dataclass(frozen=True)
class RetrieverConfig:
    """Configuration of both towers of a retriever."""

    name: str
    query: TowerConfig
    passage: TowerConfig
    max_tokens: int | None = None
    dim: int | None = None


class _Base(BaseModel):
    model_config = ConfigDict(extra="forbid")
    model: str
    sha256: str
    init: Literal["base", "random"]


class _Retriever(BaseModel):
    """``retriever.json``, as ``llmkit train retriever`` writes it."""

    model_config = ConfigDict(extra="forbid")
    format: Literal[1]
    name: str
    towers: Literal["shared", "two"]
    pooling: Pooling
    query_prefix: str
    passage_prefix: str
    max_tokens: int
    dim: int | None
    base: _Base


def read_retriever_config(folder: Path) -> RetrieverConfig:
    """Read the configuration in `folder`, without the weights.

    Raises:
        ModelError: the configuration has a module or a setting that is not known.
    """
    if (folder / _CONFIG_FILE).is_file():
        return _read_trained(folder)
    modules = _read_json(folder / "modules.json") if (folder / "modules.json").is_file() else []
    words = [_class_name(module.get("type")) for module in modules]
    prompts = _read_prompts(folder)
    query, passage = (prompts.get("query", ""), next((prompts[r] for r in _PASSAGE_ROUTES if r in prompts), ""))
    if words[:1] == ["Router"]:
        _check_modules(folder, words[1:], {"Normalize"})
        first, second = _read_router(folder / str(modules[0].get("path") or ""))
        return RetrieverConfig(
            folder.name,
            TowerConfig(first.folder, first.pooling, query),
            TowerConfig(second.folder, second.pooling, passage),
        )
    _check_modules(folder, words, {"Transformer", "Pooling", "Normalize"})
    return RetrieverConfig(folder.name, TowerConfig(folder, None, query), TowerConfig(folder, None, passage))


def _read_trained(folder: Path) -> RetrieverConfig:
    try:
        config = _Retriever.model_validate(_read_json(folder / _CONFIG_FILE))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ModelError(
            f"{folder / _CONFIG_FILE}: {where}: {first['msg']}; another version of llmkit wrote it"
        ) from error
    shared = config.towers == "shared"
    query, passage = (folder, folder) if shared else (folder / "query", folder / "passage")
    sides = (
        TowerConfig(query, config.pooling, config.query_prefix, True),
        TowerConfig(passage, config.pooling, config.passage_prefix, True),
    )
    return RetrieverConfig(config.name, *sides, config.max_tokens, config.dim)


def _read_router(folder: Path) -> tuple[TowerConfig, TowerConfig]:
    """Read both towers of a sentence-transformers Router."""
    config = _read_json(folder / "router_config.json")
    structure, types = config.get("structure", {}), config.get("types", {})
    passage = next((name for name in _PASSAGE_ROUTES if name in structure), None)
    if "query" not in structure or passage is None:
        raise ModelError(f"{folder / 'router_config.json'} has the routes {sorted(structure)}, not query and document")
    sides = []
    for route in ("query", passage):
        words = {name: _class_name(types.get(name)) for name in structure[route]}
        _check_modules(folder, list(words.values()), {"Transformer", "Pooling", "Normalize"})
        named = {word: folder / name for name, word in words.items()}
        if "Transformer" not in named:
            raise ModelError(f"{folder / 'router_config.json'}: the route {route} has no Transformer")
        pooling = read_pooling(named["Pooling"] / "config.json") if "Pooling" in named else None
        sides.append(TowerConfig(named["Transformer"], pooling))
    return sides[0], sides[1]


def _read_prompts(folder: Path) -> dict[str, str]:
    file = folder / "config_sentence_transformers.json"
    found = _read_json(file).get("prompts") if file.is_file() else None
    return {str(key): str(value) for key, value in (found or {}).items() if value}


def _check_modules(folder: Path, words: list[str], known: set[str]) -> None:
    other = sorted(set(words) - known)
    if other:
        raise ModelError(
            f"{folder} has the module {other[0]}, which the torch-free runtime does not build; use "
            f"{{type: sentence-transformer, model: {folder}}}"
        )


def _class_name(dotted: Any) -> str:
    return str(dotted).rpartition(".")[2]


def _read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{file} cannot be read: {error}") from error
