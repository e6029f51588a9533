"""An encoder from what a Python user writes: a word, a model, a folder, a mapping."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from llmkit import config, registry, weights
from llmkit.encoders.bilingual_dictionary import bundled_dictionaries
from llmkit.errors import ConfigError, unknown
from llmkit.part import Part
from llmkit.protocols import Encoder


def load_encoder(spec: str | Path | Mapping[str, Any] | Encoder | None = None, language: str | None = None) -> Encoder:
    """The encoder that `spec` names.

    Args:
        spec: a registry word (``"hashing"``, ``"local"``), a model of ``llmkit models list`` (``"minilm"``), the
            folder of a BERT-family model, ``"openai:MODEL"``, a mapping or YAML text with ``type``, or an encoder.
            None is the default encoder, ``local``.
        language: ISO 639-1 code of the documents. The default encoder reads the words of a language through a
            bilingual dictionary where llmkit ships one.

    Raises:
        ConfigError: nothing of that name is known; says what is.
    """
    if spec is None:
        spec = {"type": "local", "words": [language] if language in bundled_dictionaries() else []}
    if isinstance(spec, Path):
        spec = str(spec)
    if isinstance(spec, str):
        spec = _from_text(spec)
    if isinstance(spec, Encoder) and not isinstance(spec, Part):
        return spec
    if not isinstance(spec, Part | Mapping | str):
        raise ConfigError(f"encoder is {type(spec).__name__}: write a word as in encoder='local', or an encoder")
    spec = dict(spec) if isinstance(spec, Mapping) else spec
    return cast("Encoder", config.build_part("encoder", spec, "encoder"))


def _from_text(text: str) -> str | dict[str, Any]:
    """The registry's word or mapping for a text."""
    words = registry.names("encoder")
    encoders = [name for name, model in weights.catalogue().items() if model.purpose.startswith("encoder")]
    if text in words or text.lstrip().startswith("{"):
        return text
    provider, colon, name = text.partition(":")
    if colon and provider in words:
        return {"type": provider, "model": name}
    if text in encoders or Path(text).expanduser().is_dir():
        return {"type": "local", "model": text}
    raise ConfigError(
        f"{unknown('encoder', text, [*words, *encoders])}; or give the folder of a BERT-family model, or "
        f"{{'type': 'sentence-transformer', 'model': {text!r}}}"
    )
