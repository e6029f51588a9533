"""Settings of a knowledge base in the forms a user may write them, and their comparison with those written down."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmkit import config
from llmkit.encoders.load import load_encoder
from llmkit.errors import ConfigError
from llmkit.knowledge.analyzers import AUTO
from llmkit.knowledge.vector_settings import VectorSettings
from llmkit.text.splitter import StructureSplitter

_STRUCTURES = ("flat", "ivf", "hnsw")


def splitter_from_spec(spec: StructureSplitter | str | Mapping[str, Any] | None) -> StructureSplitter | None:
    """A splitter from a word, or a mapping of its settings; ``type`` may be left out.

    Raises:
        ConfigError: an unknown word or setting.
    """
    if isinstance(spec, Mapping):
        spec = {"type": "structure", **spec}
    return None if spec is None else config.build_part("splitter", spec, "splitter")  # type: ignore[return-value]


def vectors_from_spec(spec: VectorSettings | str | Mapping[str, Any] | None) -> VectorSettings | None:
    """Vector settings from the name of a structure, or a mapping.

    Raises:
        ConfigError: an unknown structure or setting.
    """
    if isinstance(spec, str):
        if spec not in _STRUCTURES:
            raise ConfigError(
                f"vectors is {spec!r}: write one of {', '.join(_STRUCTURES)}, or a mapping as in {{'recall': 0.95}}"
            )
        spec = {"structure": spec}
    if isinstance(spec, Mapping):
        return config.Config(dict(spec), "vectors").build(VectorSettings)
    return spec


def check_same(
    path: Path,
    meta: Mapping[str, str],
    *,
    encoder: Any = None,
    splitter: Any = None,
    language: str = AUTO,
    near_duplicates: float | None = None,
    vectors: Any = None,
) -> None:
    """Refuse settings that an existing knowledge base was not made with; a setting left out is not compared.

    Args:
        path: folder of the knowledge base, for the message.
        meta: what was written down.
        encoder: as in ``KnowledgeBase.create``, and so are the others.
        splitter: see there.
        language: see there.
        near_duplicates: see there.
        vectors: see there.

    Raises:
        ConfigError: names the first setting that differs.
    """
    given: dict[str, tuple[object, object]] = {}
    if encoder is not None:
        chosen = load_encoder(encoder)
        if chosen.identity != meta["identity"]:
            given["encoder"] = meta["identity"], chosen.identity
    if (split := splitter_from_spec(splitter)) is not None and split.config() != json.loads(meta["splitter"]):
        given["splitter"] = meta["splitter"], json.dumps(split.config())
    if language not in (AUTO, meta["language"], meta.get("language_found")):
        given["language"] = meta.get("language_found", meta["language"]), language
    if near_duplicates is not None and meta.get("near_duplicates") != repr(float(near_duplicates)):
        given["near_duplicates"] = meta.get("near_duplicates"), near_duplicates
    if (how := vectors_from_spec(vectors)) is not None and how.config() != json.loads(meta.get("vectors", "{}")):
        given["vectors"] = meta.get("vectors"), json.dumps(how.config())
    for name, (was, now) in given.items():
        raise ConfigError(
            f"{path} was made with {name} {was}, not {now}: leave {name}= out, or make a new knowledge base"
        )
