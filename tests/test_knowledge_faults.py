"""What goes wrong around a knowledge base must not go wrong in silence."""

from __future__ import annotations

import os

import pytest

from llmkit.encoders.hashing import HashingEncoder
from llmkit.knowledge.base import KnowledgeBase


@pytest.fixture
def kb(tmp_path):
    with KnowledgeBase.create(tmp_path / "kb", encoder=HashingEncoder()) as kb:
        yield kb


def live(kb) -> set[str]:
    return {document.id for document in kb.catalog.documents("died IS NULL")}


@pytest.mark.parametrize("unreadable", ["docs", "docs/sub"])
def test_a_folder_that_cannot_be_looked_into_keeps_what_was_read_below_it(kb, tmp_path, monkeypatch, unreadable):
    docs = tmp_path / "docs"
    (docs / "sub").mkdir(parents=True)
    (docs / "a.txt").write_text("alpha")
    (docs / "sub" / "b.txt").write_text("beta")
    kb.ingest([docs])
    look = os.scandir

    def scandir(folder="."):
        if str(folder) == str(tmp_path / unreadable):
            raise OSError(5, "Input/output error")
        return look(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    summary = kb.ingest([docs])
    assert live(kb) == {"docs/a.txt", "docs/sub/b.txt"}
    assert summary.removed == 0
    (problem,) = summary.problems
    assert problem[2] == "input/output error (what was read below it before is kept)"
    monkeypatch.undo()
    (docs / "sub" / "b.txt").unlink()
    assert kb.ingest([docs]).removed == 1
