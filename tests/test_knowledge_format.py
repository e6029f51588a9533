"""A knowledge base that version 0.1 made is opened, searched and updated.

`data/knowledge-0.1` was made by llmkit at commit c24eb08 with `HashingEncoder(dim=64)`, English, near_duplicates 0.8:
generation 1 adds pump, pump-copy (a near duplicate of pump), mill and board (access label "board"); generation 2 changes
mill and adds gate; generation 3 deletes gate.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from llmkit.knowledge.knowledge_base import KnowledgeBase
from llmkit.retrieval.dense_and_bm25 import BM25, Dense
from llmkit.types import Document

MADE = Path(__file__).resolve().parent / "data" / "knowledge-0.1"


@pytest.fixture
def kb(tmp_path):
    shutil.copytree(MADE, tmp_path / "kb")
    with KnowledgeBase.open(tmp_path / "kb") as kb:
        yield kb


def names(retriever, kb, query, **how):
    return [hit.chunk.document for hit in retriever.retrieve(kb, [query], 3, **how)[0]]


def test_it_opens_and_says_what_it_holds(kb):
    assert (kb.generation, kb.count, kb.dim, kb.language) == (3, 3, 64, "en")
    assert list(kb.versions()) == ["board", "mill", "pump", "pump-copy"]
    assert [(one.id, one.added, one.removed) for one in kb.log()] == [(1, 4, 0), (2, 2, 1), (3, 0, 1)]
    assert kb.status().duplicates == 1
    assert kb.verify() == []
    assert kb.take_notes() == []


def test_it_is_searched(kb):
    (pump,) = BM25().retrieve(kb, ["pump"], 3)[0]
    assert (pump.chunk.document, round(pump.score, 5)) == ("pump", 1.41631)
    assert names(BM25(), kb, "mill") == ["mill", "board"]
    assert names(BM25(), kb, "gate") == []
    assert names(Dense(), kb, "The mill grinds rye in autumn.")[0] == "mill"
    assert names(BM25(), kb, "mill", where="year < 2025") == ["board"]


def test_older_generations_and_readers_are_shown(kb):
    with KnowledgeBase.open(kb.path, as_of=2) as past:
        assert names(BM25(), past, "gate") == ["gate"]
    with KnowledgeBase.open(kb.path, as_of=1) as past:
        assert "wheat" in past.document("mill").text
    with kb.as_reader([]) as everybody, kb.as_reader(["board"]) as board:
        assert (everybody.count, names(BM25(), everybody, "secret")) == (2, [])
        assert (board.count, names(BM25(), board, "secret")) == (3, ["board"])


def test_it_is_updated(kb):
    kb.add([Document("gate", "The gate is open in the morning.")])
    assert names(BM25(), kb, "gate morning") == ["gate"]
    assert kb.delete(["pump"]) == 1
    assert names(BM25(), kb, "pump") == ["pump-copy"], "the near duplicate takes the place of its original"
    kb.rollback(2)
    assert names(BM25(), kb, "gate night") == ["gate"]
    kb.forget(["board"])
    kb.compact()
    assert kb.verify() == []
    with KnowledgeBase.open(kb.path) as again:
        assert (again.generation, list(again.versions())) == (kb.generation, ["gate", "mill", "pump", "pump-copy"])


def test_the_search_methods_of_version_0_1_still_work_and_say_what_they_are_called_now(tmp_path):
    with KnowledgeBase.create(tmp_path / "kb", encoder="hashing") as kb:
        kb.add([{"id": "a", "text": "The pump is red."}])
        with pytest.warns(DeprecationWarning, match="search_bm25"):
            ((rows, _),) = kb.search_text(["pump"], 1)
        with pytest.warns(DeprecationWarning, match="search_dense"):
            ((same, _),) = kb.search_vectors(kb.encoder.encode_queries(["pump"]), 1)
        assert rows.tolist() == same.tolist()
