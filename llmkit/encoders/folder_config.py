"""What an encoder folder says of itself: trained retriever, sentence-transformers model or Router, plain encoder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from llmkit.encoders.runtime.bert_graph import Pooling
from llmkit.encoders.tower import pooling_named
from llmkit.errors import ModelError

_MARK = "retriever.json"
_PASSAGE_ROUTES = ("document", "passage", "corpus")


@dataclass(frozen=True)
class Side:
    """One tower, as its folder describes it."""

    folder: Path
    pooling: Pooling | None
    """None: nothing is said."""
    prefix: str = ""
    trained: bool = False
    """By llmkit: the folder holds this tower and nothing else."""


@dataclass(frozen=True)
class Described:
    """Both sides of a retriever."""

    name: str
    query: Side
    passage: Side
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


def describe(folder: Path) -> Described:
    """What the folder says; nothing is loaded.

    Raises:
        ModelError: it says something that is not understood.
    """
    if (folder / _MARK).is_file():
        return _trained(folder)
    modules = _read(folder / "modules.json") if (folder / "modules.json").is_file() else []
    words = [_word(module.get("type")) for module in modules]
    prompts = _prompts(folder)
    query, passage = (prompts.get("query", ""), next((prompts[r] for r in _PASSAGE_ROUTES if r in prompts), ""))
    if words[:1] == ["Router"]:
        _only(folder, words[1:], {"Normalize"})
        first, second = _routes(folder / str(modules[0].get("path") or ""))
        return Described(
            folder.name, Side(first.folder, first.pooling, query), Side(second.folder, second.pooling, passage)
        )
    _only(folder, words, {"Transformer", "Pooling", "Normalize"})
    return Described(folder.name, Side(folder, None, query), Side(folder, None, passage))


def _trained(folder: Path) -> Described:
    try:
        said = _Retriever.model_validate(_read(folder / _MARK))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ModelError(f"{folder / _MARK}: {where}: {first['msg']}; it is not of this version of llmkit") from error
    shared = said.towers == "shared"
    query, passage = (folder, folder) if shared else (folder / "query", folder / "passage")
    sides = Side(query, said.pooling, said.query_prefix, True), Side(passage, said.pooling, said.passage_prefix, True)
    return Described(said.name, *sides, said.max_tokens, said.dim)


def _routes(folder: Path) -> tuple[Side, Side]:
    """The towers of a sentence-transformers Router."""
    config = _read(folder / "router_config.json")
    structure, types = config.get("structure", {}), config.get("types", {})
    passage = next((name for name in _PASSAGE_ROUTES if name in structure), None)
    if "query" not in structure or passage is None:
        raise ModelError(f"{folder / 'router_config.json'} has the routes {sorted(structure)}, not query and document")
    sides = []
    for route in ("query", passage):
        words = {name: _word(types.get(name)) for name in structure[route]}
        _only(folder, list(words.values()), {"Transformer", "Pooling", "Normalize"})
        named = {word: folder / name for name, word in words.items()}
        if "Transformer" not in named:
            raise ModelError(f"{folder / 'router_config.json'}: the route {route} has no Transformer")
        pooling = pooling_named(named["Pooling"] / "config.json") if "Pooling" in named else None
        sides.append(Side(named["Transformer"], pooling))
    return sides[0], sides[1]


def _prompts(folder: Path) -> dict[str, str]:
    file = folder / "config_sentence_transformers.json"
    found = _read(file).get("prompts") if file.is_file() else None
    return {str(key): str(value) for key, value in (found or {}).items() if value}


def _only(folder: Path, words: list[str], known: set[str]) -> None:
    other = sorted(set(words) - known)
    if other:
        raise ModelError(
            f"{folder} has the module {other[0]}, which the torch-free runtime does not build; use "
            f"{{type: sentence-transformer, model: {folder}}}"
        )


def _word(dotted: Any) -> str:
    return str(dotted).rpartition(".")[2]


def _read(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{file} cannot be read: {error}") from error
