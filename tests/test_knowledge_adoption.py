"""Another encoder taken into use: one new generation, the old ones as they were, and the way back."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from llmkit.encoders.hashing import HashingEncoder
from llmkit.errors import KnowledgeError
from llmkit.knowledge.knowledge_base import KnowledgeBase
from llmkit.knowledge.local.vectors import index_file
from llmkit.knowledge.vector_settings import VectorSettings
from llmkit.retrieval.dense_and_bm25 import Dense
from llmkit.types import Document

OLD, NEW = HashingEncoder(dim=64), HashingEncoder(dim=96)


def documents(n, start=0):
    return [
        Document(f"d{i}", f"Pump {i} of hall {i * i} was serviced in week {i + 7}.") for i in range(start, start + n)
    ]


@pytest.fixture
def kb(tmp_path):
    with KnowledgeBase.create(tmp_path / "kb", encoder=OLD) as base:
        base.add(documents(30))
        base.add(documents(10, 25))
        yield base


def best(base, query="pump 11 of hall 121"):
    return [(hit.chunk.document, round(hit.score, 5)) for hit in Dense().retrieve(base, [query], 5)[0]]


def words(base):
    return [row.tolist() for row, _ in base.search_bm25(["pump 11 week 18"], 3)]


def test_every_passage_is_encoded_anew_in_one_generation_and_older_ones_stay(kb):
    before, generation = best(kb), kb.generation
    done = kb.adopt(NEW)
    assert (done.generation, done.chunks) == (generation + 1, 35)
    assert (kb.identity, kb.dim, kb.count) == (NEW.identity, 96, 35)
    after = best(kb)
    assert after[0][0] == "d11"
    assert after != before
    np.testing.assert_allclose(
        kb.vectors(kb.live_rows()),
        NEW.encode_passages([c.indexed_text for c in kb.chunks(kb.live_rows())]),
        atol=1e-6,
    )
    with KnowledgeBase.open(kb.path) as again:
        assert again.encoder == NEW
        assert best(again) == after
        assert [again.chunks(rows)[0].document for rows in words(again)] == ["d11"]
    with KnowledgeBase.open(kb.path, as_of=generation) as past:
        assert past.identity == OLD.identity
        assert best(past) == before
    assert kb.verify() == []


def test_what_comes_after_is_encoded_by_the_new_one_and_known_text_is_not_encoded_again(kb):
    kb.adopt(NEW)
    summary = kb.add(documents(20, 30))
    assert summary.encoded == 15, "five of the twenty were here"
    moved = kb.add([Document("copy", documents(1, 3)[0].text)])
    assert (moved.encoded, moved.reused) == (0, 1)
    assert best(kb, "pump 44 of hall 1936")[0][0] == "d44"
    assert kb.verify() == []
    with KnowledgeBase.open(kb.path) as again:
        assert best(again, "pump 44 of hall 1936") == best(kb, "pump 44 of hall 1936")


def test_a_rollback_brings_the_old_encoder_back_and_forward_again(kb):
    before, generation = best(kb), kb.generation
    kb.adopt(NEW)
    kb.add(documents(1, 90))
    adopted, after = kb.generation, best(kb)
    kb.rollback(generation)
    assert any("the encoder is" in note and "it was" in note for note in kb.take_notes())
    assert (kb.identity, kb.dim, kb.count) == (OLD.identity, 64, 35)
    assert best(kb) == before
    assert kb.add(documents(1, 91)).encoded == 1
    assert kb.verify() == []
    kb.rollback(adopted)
    assert (kb.identity, best(kb)) == (NEW.identity, after)
    assert kb.verify() == []
    with KnowledgeBase.open(kb.path) as again:
        assert (again.encoder, best(again)) == (NEW, after)


def test_forget_compact_and_repair_work_over_an_adoption(kb):
    generation = kb.generation
    kb.adopt(NEW)
    kb.forget(["d11"])
    assert kb.verify() == []
    with KnowledgeBase.open(kb.path, as_of=generation) as past:
        assert "d11" not in [name for name, _ in best(past)]
    expected = best(kb)
    for file in (kb.path / "vectors").glob("*.npy"):
        file.write_bytes(b"damaged")
    kb.repair()
    assert kb.verify() == []
    assert best(kb) == expected
    kb.compact()
    assert kb.verify() == []
    with KnowledgeBase.open(kb.path) as again:
        assert best(again) == expected


def test_another_reader_follows(kb):
    with KnowledgeBase.open(kb.path) as reader:
        old = best(reader)
        kb.adopt(NEW)
        assert best(reader) == old, "a reader shows one generation until it is refreshed"
        reader.refresh()
        assert best(reader) == best(kb)


def test_what_cannot_be_adopted_is_refused_and_nothing_changes(kb):
    before, generation = best(kb), kb.generation
    with pytest.raises(KnowledgeError, match="nothing to adopt"):
        kb.adopt(OLD)
    with pytest.raises(KnowledgeError, match=r"35 of 35 passages are longer than the 8 tokens"):
        kb.adopt(HashingEncoder(dim=96, max_tokens=8))
    with KnowledgeBase.open(kb.path, as_of=1) as past, pytest.raises(KnowledgeError, match="past"):
        past.adopt(NEW)
    assert (best(kb), kb.generation) == (before, generation)


def test_an_empty_knowledge_base_takes_another_encoder(tmp_path):
    with KnowledgeBase.create(tmp_path / "empty", encoder=OLD) as base:
        base.adopt(NEW)
        base.add(documents(3))
        assert (base.dim, base.count) == (96, 3)
        assert base.verify() == []


KILLED = """
import os, sys
from llmkit.encoders.hashing import HashingEncoder
from llmkit.knowledge.local.vectors import segments
from llmkit.knowledge.knowledge_base import KnowledgeBase
path, where = sys.argv[1:]
kb = KnowledgeBase.open(path)
if where == "encoding":
    step = lambda *_: os.kill(os.getpid(), 9)
else:
    step = None
    whole = segments.write
    def write(*args):
        made = whole(*args)
        os.kill(os.getpid(), 9)
    segments.write = write
kb.adopt(HashingEncoder(dim=96), step)
"""


@pytest.mark.parametrize("where", ["encoding", "before the commit"])
def test_killed_in_the_middle_the_old_encoder_is_what_opens(kb, where):
    before, generation = best(kb), kb.generation
    done = subprocess.run([sys.executable, "-c", KILLED, str(kb.path), where], check=False)
    assert done.returncode == -9
    with KnowledgeBase.open(kb.path) as again:
        assert (again.generation, again.identity, best(again)) == (generation, OLD.identity, before)
        again.adopt(NEW)
        assert again.verify() == []
        assert best(again)[0][0] == "d11"


def test_a_vector_index_is_made_anew_for_the_new_encoder_and_older_generations_are_searched_exactly(tmp_path):
    settings = VectorSettings(small=16)
    with KnowledgeBase.create(tmp_path / "kb", encoder=OLD, vectors=settings) as base:
        base.add(documents(60))
        old, before, generation = index_file.named(base.store.catalog), best(base), base.generation
        assert old is not None
        base.adopt(NEW)
        new = index_file.named(base.store.catalog)
        assert new is not None
        assert new.file != old.file
        assert base.verify() == []
        assert best(base)[0][0] == "d11"
        with KnowledgeBase.open(base.path, as_of=generation) as past:
            assert best(past) == before
            assert past.take_notes() == []
        base.rollback(generation)
        assert best(base) == before
        assert base.verify() == []
