"""The knowledge base of a task: its corpus, ingested once and kept under the digest of what is in it."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from llmkit.errors import DataError
from llmkit.evaluation.tasks.rows import BadRow
from llmkit.evaluation.tasks.task import Task
from llmkit.knowledge.knowledge_base import KnowledgeBase
from llmkit.part import Part
from llmkit.types import Chunk, Document

_DONE = ".complete"


def corpus_knowledge(task: Task, folder: Path, note: Callable[[str], None]) -> KnowledgeBase:
    """The knowledge base over the task's corpus, below `folder`; made if it is not there whole.

    Args:
        task: names the data set, the encoder and the splitter.
        folder: where such knowledge bases are kept.
        note: told what is being done, and which documents cannot be used.

    Raises:
        DataError: the data set has no documents.
    """
    encoder: Any = task.encoder
    splitter: Any = task.splitter
    content = hashlib.sha256()
    count, bad = 0, []
    for item in task.dataset.documents():
        if isinstance(item, BadRow):
            bad.append(item)
            continue
        count += 1
        content.update(f"{item.id}\0{item.version}\0".encode())
    for one in bad[:20]:
        note(f"document left out: {one}")
    if len(bad) > 20:
        note(f"… and {len(bad) - 20} more documents that cannot be used")
    if not count:
        raise DataError(f"task {task.name}: the data set has no documents; set knowledge: pipeline, or none")
    settings = json.dumps([_config(encoder), _config(splitter), encoder.identity], sort_keys=True)
    content.update(settings.encode())
    path = folder / content.hexdigest()[:16]  # tasks over one corpus share it
    if (path / _DONE).exists():
        return KnowledgeBase.open(path, encoder=encoder)
    if path.exists() and not KnowledgeBase.exists(path):
        shutil.rmtree(path)
    note(f"ingesting {count} documents into {path}")
    kb = KnowledgeBase.open(path) if path.exists() else KnowledgeBase.create(path, encoder=encoder, splitter=splitter)
    summary = kb.add(_documents(task), source=task.name)
    note(f"{summary.documents} documents became {kb.count} passages in {summary.seconds:.1f} s")
    (path / _DONE).touch()
    return kb


def document_passages(kb: KnowledgeBase, documents: Sequence[str]) -> list[Chunk]:
    """Every passage of some documents, in the order given; documents that are not there have none."""
    return kb.chunks(kb.rows_of(documents))


def _documents(task: Task) -> Iterator[Document]:
    yield from (item for item in task.dataset.documents() if isinstance(item, Document))


def _config(part: Part) -> object:
    return part.config()
