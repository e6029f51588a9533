"""The folder of a knowledge base: made so that a power cut cannot take half of it, or found."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from llmkit.errors import KnowledgeError
from llmkit.knowledge.local.catalog import Catalog
from llmkit.knowledge.local.vectors.segments import sync_folder


def create_catalog(path: Path, made_with: Mapping[str, str]) -> Catalog:
    """The catalogue of a new knowledge base, with what it is made with.

    Raises:
        KnowledgeError: something is there already, or the folder cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        if any(path.iterdir()):
            there = (path / "catalog.sqlite").exists()
            advice = "open it" if there else "it is no knowledge base, or its catalog.sqlite is lost: restore that"
            raise KnowledgeError(f"{path} is not empty: {advice}, or choose another folder")
        catalog = Catalog(path / "catalog.sqlite", create=True)
        catalog.set_meta(dict(made_with))
        for folder in (path, *path.absolute().parents[:2]):  # a power cut must not take the new folder's name
            sync_folder(folder)
    except OSError as error:
        raise KnowledgeError(f"{path} cannot be made: {error}") from error
    return catalog


def open_catalog(path: Path) -> Catalog:
    """The catalogue of a knowledge base that is there.

    Raises:
        KnowledgeError: there is none, or it was never finished.
    """
    if not (path / "catalog.sqlite").is_file():
        raise KnowledgeError(
            f"no knowledge base at {path}: make one with `llmkit ingest FILES --into {path}`, "
            "or KnowledgeBase.create in Python"
        )
    catalog = Catalog(path / "catalog.sqlite")
    if "identity" not in catalog.meta():
        raise KnowledgeError(f"{path} was never finished: delete the folder and ingest again")
    return catalog
