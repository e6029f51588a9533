"""The knowledge base a command writes to: opened, or made with the settings it was given."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmkit.knowledge.knowledge_base import KnowledgeBase
    from llmkit.protocols import Encoder


def open_or_make(path: Path, roots: Sequence[str], **settings: Any) -> KnowledgeBase:
    """The knowledge base at `path`, made if it is not there.

    Args:
        path: its folder.
        roots: what will be read; looked for before a folder is made for nothing.
        settings: encoder (a word, or YAML), max_tokens, language, near_duplicates, recall; None where nothing was said.

    Raises:
        DataError: a root that is not there.
        ConfigError: the knowledge base is there, and was made with other settings than those that are given.
    """
    from llmkit import config
    from llmkit.errors import ConfigError, DataError
    from llmkit.knowledge.knowledge_base import KnowledgeBase
    from llmkit.knowledge.vector_settings import VectorSettings
    from llmkit.text.splitter import StructureSplitter

    for root in roots:
        if not Path(root).expanduser().exists():
            raise DataError(f"there is no file or folder {root}")
    given = {name: value for name, value in settings.items() if value is not None}
    if "encoder" in given:
        value = config.parse(f"encoder: {given['encoder']}", "--encoder").values["encoder"]
        given["encoder"] = config.build_part("encoder", value, "--encoder")
    if KnowledgeBase.exists(path):
        kb = KnowledgeBase.open(path)
        for name, value in given.items():
            known = _made_with(kb, name)
            if value != known:
                kb.close()
                was, now = _told(known, value)
                raise ConfigError(
                    f"{path} was made with {name.replace('_', '-')} {was}, not {now}: {_advice(path, name, value)}"
                )
        _tell_unread(kb, given.get("language"))
        return kb
    encoder: Any = given.pop("encoder", None) or _encoder_of(given.get("language"))
    most = given.pop("max_tokens", None)
    if most is not None and most > encoder.max_tokens:
        raise ConfigError(
            f"--max-tokens {most} is more than the encoder {encoder.identity} reads: it is at most {encoder.max_tokens}"
        )
    _something_to_read(roots)
    splitter = StructureSplitter(max_tokens=most)
    if "recall" in given:
        given["vectors"] = VectorSettings(recall=given.pop("recall"))
    kb = KnowledgeBase.create(path, encoder=encoder, splitter=splitter, **given)
    _tell_unread(kb, given.get("language"))
    return kb


def _encoder_of(language: str | None) -> Encoder:
    """The local encoder; of a language that llmkit has a dictionary of, with its words."""
    from llmkit.encoders.bilingual_dictionary import bundled_dictionaries
    from llmkit.encoders.local import LocalEncoder

    return LocalEncoder(words=(language,) if language in bundled_dictionaries() else ())


def _tell_unread(kb: KnowledgeBase, language: str | None) -> None:
    """A language was named, and the encoder has not its dictionary: an encoder of one's own, or an older choice."""
    from llmkit.encoders.bilingual_dictionary import missing_dictionary_note

    if language is not None and (told := missing_dictionary_note(kb.encoder, language)):
        kb.add_note(told)


def _made_with(kb: KnowledgeBase, name: str) -> Any:
    if name == "recall":
        return kb.vector_settings.recall
    if name == "encoder":
        return kb.encoder
    if name == "max_tokens":
        return min(kb.splitter.max_tokens or 256, kb.encoder.max_tokens)  # what is in force
    return kb.language if name == "language" else kb.near_duplicates


def _advice(path: Path, name: str, value: Any) -> str:
    if name == "recall":
        return f"`llmkit kb index --kb {path} --recall {value}` changes it"
    return "leave the option out, or ingest into a new knowledge base"


def _told(known: Any, value: Any) -> tuple[str, str]:
    """Both as the user knows them: encoders by identity, and by all that is set where that does not tell them apart."""
    from llmkit.part import Part

    if not isinstance(known, Part):
        return str(known), str(value)
    was, now = str(getattr(known, "identity", "")), str(getattr(value, "identity", ""))
    return (was, now) if was != now else (str(known.config()), str(value.config()))


def _something_to_read(roots: Sequence[str]) -> None:
    """Look for one file, so that no knowledge base is made for nothing.

    Raises:
        DataError: there is none; says what was passed over.
    """
    from llmkit.errors import DataError
    from llmkit.text.loading.scan_files import Skipped, scan

    passed: list[Skipped] = []
    for found in scan([Path(root).expanduser() for root in roots]):
        if not isinstance(found, Skipped):
            return
        passed.append(found)
    told = "".join(f"\n  {one.path}: {one.reason}" for one in passed[:20])
    raise DataError(f"there was no file to read, and no knowledge base was made{told}")
