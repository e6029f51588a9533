"""Digests that identify a pipeline: its settings, the text of its prompts, the weights or servers of its models."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llmkit import prompts, weights
from llmkit.errors import LlmkitError
from llmkit.models.chat import ChatModelSpec
from llmkit.models.local.adapter import read_adapter, weights_digest
from llmkit.part import Part
from llmkit.version import __version__

_PROMPT = re.compile(r"[a-z][a-z0-9-]*@v[0-9]+")


def digest(value: object) -> str:
    """First 16 hex digits of the SHA-256 of a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def digest_of_steps(pipeline: Part, steps: list[dict[str, Any]]) -> str:
    """Digest of a pipeline whose steps have these configurations: another setting, prompt or model changes it.

    The version of llmkit is part of the digest; the knowledge base is not.
    """
    return digest([__version__, steps, prompt_digests(pipeline), models(pipeline)])


def prompt_digests(pipeline: Part) -> dict[str, str]:
    """Digest of every prompt that a pipeline names, by reference."""
    digests = {}
    for key, value in _strings(pipeline.config()):
        if _PROMPT.fullmatch(value) or key == "prompt" or value.endswith(".md"):
            try:
                prompt = prompts.load(value)
            except LlmkitError:
                continue  # a text that only looks like a prompt
            digests[prompt.ref] = prompt.digest
    return digests


def models(pipeline: Part) -> dict[str, str]:
    """Identity of every chat model that a pipeline names, by its spec."""
    return {spec.model: model_identity(spec) for spec in _specs(pipeline)}


def model_identity(spec: ChatModelSpec) -> str:
    """Digest of a spec and of what it points to: the bytes of a local file, or the address of a server."""
    provider, _, name = spec.model.partition(":")
    target = ""
    if provider == "local":
        path = weights.find(name)
        target = _file_digest(path) if path.is_file() else str(path)
    elif provider == "transformers":
        path = Path(name).expanduser()
        target = weights_digest(path) if path.is_dir() else name
    elif provider == "scripted" and name.startswith("@"):
        path = Path(name[1:]).expanduser()
        target = _file_digest(path) if path.is_file() else "missing"
    elif provider == "openai":
        target = os.environ.get("OPENAI_BASE_URL", "")
    adapters = {key: read_adapter(folder).digest for key, folder in spec.named_adapters().items()}
    return digest([spec.config(), target, *([adapters] if adapters else [])])


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
