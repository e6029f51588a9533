"""What a pipeline is, in one digest: its settings, the text of its prompts, the weights or servers of its models."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from llmkit import prompts, weights
from llmkit.errors import LlmkitError
from llmkit.models.chat import ChatModelSpec
from llmkit.models.local.adapter import read_adapter, weights_digest
from llmkit.part import Part
from llmkit.version import __version__

if TYPE_CHECKING:
    from llmkit.pipeline.pipeline import Pipeline

_PROMPT = re.compile(r"[a-z][a-z0-9-]*@v[0-9]+")


def digest(value: object) -> str:
    """First 16 hex digits of the SHA-256 of a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def up_to(pipeline: Pipeline, steps: int) -> str:
    """Digest of what the first steps of a pipeline say: another setting, prompt or model gives another."""
    first = pipeline.replace(steps=pipeline.steps[:steps])
    config = [step.config() for step in first.steps]  # type: ignore[attr-defined]
    return digest([__version__, config, prompt_digests(first), models(first)])


def prompt_digests(pipeline: Pipeline) -> dict[str, str]:
    """Digest of every prompt the pipeline names, by reference."""
    found = {}
    for key, value in _strings(pipeline.config()):
        if _PROMPT.fullmatch(value) or key == "prompt" or value.endswith(".md"):
            try:
                prompt = prompts.load(value)
            except LlmkitError:
                continue  # a text that only looks like a prompt
            found[prompt.ref] = prompt.digest
    return found


def models(pipeline: Pipeline) -> dict[str, str]:
    """Identity of every chat model the pipeline names, by its spec."""
    return {spec.model: model_identity(spec) for spec in _specs(pipeline)}


def model_identity(spec: ChatModelSpec) -> str:
    """The spec and what stands behind it: the digest of a local file, the address of a server."""
    provider, _, name = spec.model.partition(":")
    behind = ""
    if provider == "local":
        path = weights.find(name)
        behind = _file_digest(path) if path.is_file() else str(path)
    elif provider == "transformers":
        path = Path(name).expanduser()
        behind = weights_digest(path) if path.is_dir() else name
    elif provider == "scripted" and name.startswith("@"):
        path = Path(name[1:]).expanduser()
        behind = _file_digest(path) if path.is_file() else "missing"
    elif provider == "openai":
        behind = os.environ.get("OPENAI_BASE_URL", "")
    adapters = {key: read_adapter(folder).digest for key, folder in spec.named_adapters().items()}
    return digest([spec.config(), behind, *([adapters] if adapters else [])])


def _specs(value: object) -> Iterator[ChatModelSpec]:
    if isinstance(value, ChatModelSpec):
        yield value
    elif isinstance(value, Part):
        for name in type(value).model_fields:
            yield from _specs(getattr(value, name))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _specs(item)


def _strings(value: object, key: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _strings(item, name)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item, key)


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
