"""What goes wrong around a knowledge base must not go wrong in silence."""

from __future__ import annotations

import os

import numpy as np
import pytest

from llmkit.encoders.hashing import HashingEncoder
from llmkit.errors import KnowledgeError
from llmkit.knowledge.base import KnowledgeBase
from llmkit.knowledge.lexical import LexicalIndex
from llmkit.knowledge.mmr import MaximalMarginalRelevance
from llmkit.knowledge.retrievers import BM25, Dense
from llmkit.knowledge.vectors import FlatIndex
from llmkit.types import Document


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


class Wrong(HashingEncoder):
    """An encoder that breaks its promise in one of several ways."""

    fault: str = "none"
    """Which."""

    def encode_passages(self, texts):
        vectors = super().encode_passages(texts)
        if self.fault == "nan":
            vectors[-1] = np.nan
        elif self.fault == "long":
            vectors *= 3
        return {"narrow": vectors[:, :1], "more": np.repeat(vectors, 2, axis=0)}.get(self.fault, vectors)

    encode_queries = encode_passages


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("nan", "row 1 has length nan"),
        ("long", "row 0 has length 3.00"),
        ("narrow", r"\(2, 1\)"),
        ("more", r"\(4, 256\)"),
    ],
)
def test_an_encoder_that_breaks_its_promise_is_stopped_when_writing_and_when_asking(tmp_path, fault, says):
    two = [Document("one", "first words"), Document("two", "second words")]
    with KnowledgeBase.create(tmp_path / "kb", encoder=Wrong(fault=fault)) as kb:
        with pytest.raises(KnowledgeError, match=says):
            kb.add(two)
        assert kb.generation == 0
    with KnowledgeBase.create(tmp_path / "good", encoder=HashingEncoder()) as kb:
        kb.add(two)
    for retriever in (Dense(), MaximalMarginalRelevance(of="bm25")):
        with KnowledgeBase.open(tmp_path / "good", encoder=Wrong(fault=fault)) as kb:
            with pytest.raises(KnowledgeError, match=says):
                retriever.retrieve(kb, ["first", "second"], 3)


@pytest.mark.parametrize("queries", [np.full((1, 256), np.nan), np.ones((1, 256)), np.ones((1, 3))])
def test_queries_that_are_no_unit_vectors_are_refused(kb, queries):
    kb.add([Document("one", "first words")])
    with pytest.raises(KnowledgeError, match="the encoder of the queries gave vectors"):
        kb.search_vectors(queries.astype(np.float32), 3)


def test_add_says_what_it_left_out_or_stored_under_another_name(kb):
    repeated = kb.add([Document("x", "a b"), Document("x", "c d")])
    assert [reason for _, _, reason in repeated.problems] == [
        "1 documents repeat an id of the same source and were left out"
    ]
    taken = kb.add([Document("x", "e f")], source="other")
    assert live(kb) == {"x", "other:x"}
    assert [(name, reason) for name, _, reason in taken.problems] == [
        ("other", "1 ids are taken by other sources: stored here as 'other:ID'")
    ]


def fail(*_):
    raise OSError(28, "No space left on device")


def found(kb, query):
    ((words, _),) = kb.search_text([query], 5)
    ((near, _),) = kb.search_vectors(kb.encoder.encode_queries([query]), 5)
    return {chunk.document for chunk in kb.chunks(words)}, {chunk.document for chunk in kb.chunks(near)}


@pytest.mark.parametrize("part", [FlatIndex, LexicalIndex])
def test_what_was_committed_is_found_by_the_same_object_after_its_index_failed(kb, monkeypatch, part):
    kb.add([Document("one", "first words")])
    with monkeypatch.context() as patch:
        patch.setattr(part, "add" if part is FlatIndex else "update", fail)
        with pytest.raises(KnowledgeError, match=r"stopped: .*No space.* What was committed is whole"):
            kb.add([Document("two", "second words")])
        assert kb.generation == 2
    assert found(kb, "second") == ({"two"}, {"one", "two"})


def test_what_is_deleted_is_not_found_by_an_index_that_lost_its_mark(kb, monkeypatch):
    kb.add([Document("one", "first words"), Document("two", "second words")])
    with monkeypatch.context() as patch:
        patch.setattr(LexicalIndex, "update", fail)
        with pytest.raises(KnowledgeError, match="No space"):
            kb.delete(["one"])
    (kb.path / "lexical" / "generation").write_text("")
    with KnowledgeBase.open(kb.path) as again:
        assert found(again, "first words") == ({"two"}, {"two"})


def test_what_a_killed_writer_left_in_the_lexical_index_is_in_nobodys_way(tmp_path, monkeypatch):

    with KnowledgeBase.create(tmp_path / "kb", encoder=HashingEncoder()) as kb:
        kb.add([Document("a", "The apple.")])
        update, calls = LexicalIndex.update, []

        def failing(self, *arguments):
            calls.append(self)
            if len(calls) == 1:  # what tantivy says where a file of a commit that never was lies in its way
                raise KnowledgeError("Failed to open file for write: 'FileAlreadyExists(\"x.382.del\")'")
            return update(self, *arguments)

        monkeypatch.setattr(LexicalIndex, "update", failing)
        kb.add([Document("b", "The pear.")])
        assert [hits[0].chunk.document for hits in BM25().retrieve(kb, ["apple", "pear"], 1)] == ["a", "b"]
        assert len(calls) == 2


def test_a_lexical_index_that_cannot_be_searched_is_made_anew(tmp_path):
    with KnowledgeBase.create(tmp_path / "kb", encoder=HashingEncoder()) as kb:
        kb.add([Document("a", "The apple."), Document("b", "The pear.")])

        class Broken:
            def search(self, *_, **__):
                raise ValueError("Data corruption: Failed to open field 'body'")

        kb.lexical._searcher = Broken()
        assert BM25().retrieve(kb, ["apple"], 1)[0][0].chunk.document == "a"
        assert kb.untold() == ["the lexical index was damaged and has been rebuilt from the catalogue"]
