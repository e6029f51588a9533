"""What a knowledge base is made with, as it is written down: its own for good."""

from __future__ import annotations

import json
from collections.abc import Mapping

from llmkit.errors import ConfigError
from llmkit.knowledge.analyzers import AUTO, ENGLISH, check_language
from llmkit.knowledge.vector_settings import VectorSettings
from llmkit.part import Part
from llmkit.protocols import Encoder
from llmkit.text.splitter import StructureSplitter


def settings(
    encoder: Encoder,
    splitter: StructureSplitter | None,
    words_in: str,
    near: float | None,
    vectors: VectorSettings | None,
) -> dict[str, str]:
    """The settings of a new knowledge base.

    Args:
        encoder: makes its vectors.
        splitter: makes its chunks.
        words_in: ISO 639-1 code of the language words are stemmed in; ``auto``: told from the first texts.
        near: least Jaccard similarity of word 5-grams from which on a document is a near duplicate of another and is
            not indexed; None: every document is.
        vectors: how they are to be searched once there are many, and with what recall.

    Raises:
        ConfigError: the encoder is not a part, the language is not known, or the similarity is not a share.
    """
    if not isinstance(encoder, Part):
        raise ConfigError(f"{type(encoder).__name__} is not a Part: its configuration cannot be written down")
    if near is not None and not 0 < near <= 1:
        raise ConfigError(f"near_duplicates is a similarity above 0 and at most 1, not {near}")
    found = {
        "encoder": json.dumps(encoder.config()),
        "identity": encoder.identity,
        "dim": str(encoder.dim),
        "splitter": json.dumps((splitter or StructureSplitter()).config()),
        "language": check_language(words_in),
        "vectors": json.dumps((vectors or VectorSettings()).config()),
    }
    return found if near is None else {**found, "near_duplicates": repr(float(near))}


def language(meta: Mapping[str, str]) -> str:
    """The language words are stemmed in; English until the first texts have been seen."""
    given = meta.get("language", ENGLISH)
    return meta.get("language_found", ENGLISH) if given == AUTO else given


def near_duplicates(meta: Mapping[str, str]) -> float | None:
    """Similarity from which on a document is a near duplicate; None where all are indexed."""
    value = meta.get("near_duplicates")
    return None if value is None else float(value)
