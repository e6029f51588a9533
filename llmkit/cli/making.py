"""The knowledge base a command writes to: opened, or made with the settings it was given."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmkit.knowledge.base import KnowledgeBase


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
    from llmkit.knowledge.base import KnowledgeBase
    from llmkit.knowledge.vector_settings import VectorSettings
    from llmkit.text.splitter import StructureSplitter

    for root in roots:
        if not Path(root).expanduser().exists():
            raise DataError(f"there is no file or folder {root}")
    given = {name: value for name, value in settings.items() if value is not None}
    if "encoder" in given:
        value = config.parse(f"encoder: {given['encoder']}", "--encoder").values["encoder"]
        given["encoder"] = config.build_part("encoder", value)
    if (path / "catalog.sqlite").is_file():
        kb = KnowledgeBase.open(path)
        for name, value in given.items():
            known = _made_with(kb, name)
            if value != known:
                kb.close()
                raise ConfigError(
                    f"{path} was made with {name.replace('_', '-')} {_told(known)}, not {_told(value)}: "
                    f"{_advice(path, name, value)}"
                )
        return kb
    encoder: Any = given.pop("encoder", None) or config.build_part("encoder", "local")
    splitter = StructureSplitter(max_tokens=given.pop("max_tokens", None))
    if "recall" in given:
        given["vectors"] = VectorSettings(recall=given.pop("recall"))
    return KnowledgeBase.create(path, encoder=encoder, splitter=splitter, **given)


def _made_with(kb: KnowledgeBase, name: str) -> Any:
    from llmkit.knowledge.settings import near_duplicates
    from llmkit.knowledge.vector_settings import written

    if name == "recall":
        return written(kb.catalog).recall
    if name == "encoder":
        return kb.encoder
    if name == "max_tokens":
        return kb.splitter.max_tokens
    return kb.language if name == "language" else near_duplicates(kb.catalog.meta())


def _advice(path: Path, name: str, value: Any) -> str:
    if name == "recall":
        return f"`llmkit kb index --kb {path} --recall {value}` changes it"
    return "leave the option out, or ingest into a new knowledge base"


def _told(value: Any) -> str:
    from llmkit.part import Part

    return str(value.config()) if isinstance(value, Part) else str(value)
