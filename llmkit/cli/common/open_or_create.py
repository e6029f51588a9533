"""The knowledge base that a command writes to: opened, or created with the settings of its options."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from llmkit.knowledge.knowledge_base import KnowledgeBase
    from llmkit.protocols import Encoder


def open_or_create(path: Path, roots: Sequence[str], **settings: Any) -> KnowledgeBase:
    """Open the knowledge base at `path`, or create it.

    Args:
        path: folder of the knowledge base.
        roots: files and folders to read; checked before a knowledge base is created. Empty: no check.
        settings: encoder (a type word or YAML), max_tokens, language, near_duplicates, recall; None leaves the default.

    Raises:
        DataError: a root does not exist, or there is no file to read for a new knowledge base.
        ConfigError: the knowledge base exists, and was created with other settings.
    """
    from llmkit.encoders.load import load_encoder
    from llmkit.errors import ConfigError, DataError
    from llmkit.knowledge.knowledge_base import KnowledgeBase
    from llmkit.knowledge.vector_settings import VectorSettings
    from llmkit.text.splitter import StructureSplitter

    for root in roots:
        if not Path(root).expanduser().exists():
            raise DataError(f"there is no file or folder {root}")
    if path.is_file():
        raise DataError(f"{path} is a file: name a folder for the knowledge base")
    given = {name: value for name, value in settings.items() if value is not None}
    if "encoder" in given:
        given["encoder"] = _parse_encoder(given["encoder"])
    language = given.get("language")
    if KnowledgeBase.exists(path):
        kb = KnowledgeBase.open(path)
        for name, value in given.items():
            current = _current_setting(kb, name)
            if value != current:
                kb.close()
                before, now = _describe_settings(current, value)
                raise ConfigError(
                    f"{path} was made with {name.replace('_', '-')} {before}, not {now}: {_advice(path, name, value)}"
                )
        _note_missing_dictionary(kb, language)
        return kb
    encoder = load_encoder(given.pop("encoder", None), language or "auto")
    max_tokens = given.pop("max_tokens", None)
    if max_tokens is not None and max_tokens > encoder.max_tokens:
        raise ConfigError(
            f"--max-tokens {max_tokens} is more than the encoder {encoder.identity} reads: "
            f"it is at most {encoder.max_tokens}"
        )
    if roots:
        _require_file(roots)
    if "recall" in given:
        given["vectors"] = VectorSettings(recall=given.pop("recall"))
    kb = KnowledgeBase.create(path, encoder=encoder, splitter=StructureSplitter(max_tokens=max_tokens), **given)
    _note_missing_dictionary(kb, language)
    return kb


def _parse_encoder(spec: str) -> Encoder:
    """The encoder of ``--encoder``: YAML, a type word, a model, a folder, or ``openai:MODEL``."""
    from llmkit import config
    from llmkit.encoders.load import load_encoder
    from llmkit.errors import ConfigError

    if spec.lstrip().startswith("{"):
        values = config.parse(f"encoder: {spec}", "--encoder").values["encoder"]
        return cast("Encoder", config.build_part("encoder", values, "--encoder"))
    try:
        return load_encoder(spec)
    except ConfigError as error:
        raise ConfigError(f"--encoder: {error}") from error


def _note_missing_dictionary(kb: KnowledgeBase, language: str | None) -> None:
    """Add a note where `--language` names a language whose dictionary the encoder lacks."""
    from llmkit.encoders.bilingual_dictionary import missing_dictionary_note

    if language is not None and (note := missing_dictionary_note(kb.encoder, language)):
        kb.add_note(note)


def _current_setting(kb: KnowledgeBase, name: str) -> Any:
    if name == "recall":
        return kb.vector_settings.recall
    if name == "encoder":
        return kb.encoder
    if name == "max_tokens":
        return min(kb.splitter.max_tokens or 256, kb.encoder.max_tokens)  # the value in force
    return kb.language if name == "language" else kb.near_duplicates


def _advice(path: Path, name: str, value: Any) -> str:
    if name == "recall":
        return f"`llmkit kb index --kb {path} --recall {value}` changes it"
    return "leave the option out, or ingest into a new knowledge base"


def _describe_settings(current: Any, value: Any) -> tuple[str, str]:
    """Both values as text: encoders by identity, or by their whole configuration where the identities are equal."""
    from llmkit.part import Part

    if not isinstance(current, Part):
        return str(current), str(value)
    before, now = str(getattr(current, "identity", "")), str(getattr(value, "identity", ""))
    return (before, now) if before != now else (str(current.config()), str(value.config()))


def _require_file(roots: Sequence[str]) -> None:
    """Check that at least one file can be read, so that no empty knowledge base is created.

    Raises:
        DataError: there is none; lists the files that were skipped.
    """
    from llmkit.errors import DataError
    from llmkit.text.loading.scan_files import Skipped, scan

    skipped: list[Skipped] = []
    for file in scan([Path(root).expanduser() for root in roots]):
        if not isinstance(file, Skipped):
            return
        skipped.append(file)
    lines = "".join(f"\n  {one.path}: {one.reason}" for one in skipped[:20])
    raise DataError(f"there is no file to read, so no knowledge base was created{lines}")
