"""Near duplicates at ingest: never a text below the threshold, never one whose original is gone."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmkit.encoders.hashing import HashingEncoder
from llmkit.errors import ConfigError
from llmkit.knowledge.ingestion.near_duplicates import jaccard
from llmkit.knowledge.knowledge_base import KnowledgeBase
from llmkit.retrieval.dense_and_bm25 import BM25
from llmkit.types import Document

WORDS = "pump mill gate sluice wheel axle stone flour sack cart river bank miller oven rye salt".split()


def text(seed, words=80, changed=0):
    made = random.Random(seed).choices(WORDS, k=words)
    for n in range(changed):
        made[(n * 37) % words] = f"other{n}"
    return " ".join(made) + "."


def make(path, threshold=0.8):
    return KnowledgeBase.create(path / "kb", encoder=HashingEncoder(dim=32), near_duplicates=threshold)


@pytest.fixture
def kb(tmp_path):
    with make(tmp_path) as kb:
        yield kb


def indexed(kb):
    rows = kb.live_rows()
    return {chunk.document for chunk in kb.chunks(rows)}


def parked(kb):
    return dict(
        kb.store.catalog.rows(
            "SELECT d.id, t.original FROM duplicates t JOIN documents d ON d.seq = t.document WHERE d.died IS NULL"
        )
    )


def test_a_copy_is_kept_and_not_indexed(kb):
    summary = kb.add([Document("a", text(1)), Document("b", text(1, changed=1)), Document("c", text(2))])
    assert jaccard(text(1), text(1, changed=1)) > 0.8
    assert (summary.documents, summary.duplicates) == (3, 1)
    assert summary.problems == []
    assert indexed(kb) == {"a", "c"}
    assert kb.document("b").text == text(1, changed=1)
    assert kb.status().duplicates == 1
    assert kb.status().characters["dropped: near duplicate"] == len(text(1, changed=1))
    (file,) = kb.files()
    assert file.notes == ("b is a near duplicate of a (96% of the wording): not indexed",)
    assert kb.verify() == []


def test_off_by_default_and_off_means_off(tmp_path):
    with KnowledgeBase.create(tmp_path / "kb", encoder=HashingEncoder(dim=32)) as kb:
        kb.add([Document("a", text(1)), Document("b", text(1))])
        assert indexed(kb) == {"a", "b"}


@pytest.mark.parametrize("threshold", [0, -1, 1.5])
def test_a_threshold_is_a_share(tmp_path, threshold):
    with pytest.raises(ConfigError, match="near_duplicates"):
        make(tmp_path, threshold)


def test_the_copy_takes_the_place_of_an_original_that_goes_in_the_same_commit(kb):
    kb.add([Document("a", text(1)), Document("b", text(1)), Document("c", text(1))])
    assert parked(kb) == {"b": "a", "c": "a"}
    before = kb.generation
    assert kb.delete(["a"]) == 1
    assert kb.generation == before + 1
    assert indexed(kb) == {"b"}
    assert parked(kb) == {"c": "b"}
    assert [hit.chunk.document for hit in BM25().retrieve(kb, ["pump mill"], 5)[0]] == ["b"]
    assert kb.verify() == []
    with KnowledgeBase.open(kb.path, as_of=before) as past:
        assert indexed(past) == {"a"}


def test_the_copy_comes_back_when_its_original_changes(kb):
    kb.add([Document("a", text(1))])
    kb.add([Document("b", text(1))])
    kb.add([Document("a", text(1, changed=1))])
    assert parked(kb) == {"b": "a"}
    kb.add([Document("a", text(9))])
    assert indexed(kb) == {"a", "b"}
    assert parked(kb) == {}


def test_a_copy_that_changes_is_indexed_and_one_that_becomes_a_copy_is_not(kb):
    kb.add([Document("a", text(1)), Document("b", text(1))])
    kb.add([Document("b", text(5))])
    assert indexed(kb) == {"a", "b"}
    kb.add([Document("b", text(1))])
    assert indexed(kb) == {"a"}
    assert parked(kb) == {"b": "a"}


def test_files_that_are_moved_deleted_and_edited(kb, tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "a.md").write_text("# Mill\n\n" + text(1))
    (folder / "b.md").write_text("# Mill\n\n" + text(1))
    kb.ingest([folder])
    assert indexed(kb) == {"files/a.md"}
    assert kb.ingest([folder]).unchanged == 2
    assert parked(kb) == {"files/b.md": "files/a.md"}
    (folder / "a.md").unlink()
    kb.ingest([folder])
    assert indexed(kb) == {"files/b.md"}
    (chunk, *_) = kb.chunks(kb.live_rows())
    assert chunk.heading == ("Mill",), "its structure was kept"
    (folder / "b.md").rename(folder / "c.md")
    kb.ingest([folder])
    assert indexed(kb) == {"files/c.md"}


def test_a_row_that_is_renamed_in_its_file_is_not_lost(kb, tmp_path):
    file = tmp_path / "rows.jsonl"
    row = '{{"id": "{}", "text": "{}"}}\n'
    file.write_text(row.format("old", text(1)) + row.format("x", text(3)))
    kb.ingest([file])
    file.write_text(row.format("new", text(1)) + row.format("x", text(3)))
    kb.ingest([file])
    assert indexed(kb) == {"new", "x"}


def test_documents_of_other_readers_are_never_compared(kb):
    kb.add([Document("secret", text(1), metadata={"access": ["board"]}), Document("open", text(1))])
    assert indexed(kb) == {"secret", "open"}


def test_rollback_brings_back_what_is_needed(kb):
    kb.add([Document("b", text(1))])
    kb.delete(["b"])
    kb.add([Document("a", text(1))])
    kb.add([Document("b", text(1))])
    assert parked(kb) == {"b": "a"}
    kb.rollback(1)
    assert indexed(kb) == {"b"}
    kb.rollback(4)
    assert "b" in indexed(kb) | set(parked(kb))
    assert indexed(kb)
    assert kb.verify() == []


def test_an_original_that_is_forgotten_leaves_its_copy_and_not_its_name(kb):
    kb.add([Document("confidential-name", text(1)), Document("b", text(1))])
    kb.forget(["confidential-name"])
    assert indexed(kb) == {"b"}
    kb.close()
    for path in Path(kb.path).rglob("*"):
        if path.is_file():
            assert b"confidential-name" not in path.read_bytes(), path


def test_compaction_keeps_what_near_duplicates_need(kb):
    kb.add([Document("a", text(1)), Document("b", text(1))])
    kb.add([Document("z", text(7))])
    kb.delete(["z"])
    kb.compact(1)
    assert parked(kb) == {"b": "a"}
    kb.delete(["a"])
    assert indexed(kb) == {"b"}


def test_documents_without_words_are_no_duplicates(kb):
    kb.add([Document("a", "..."), Document("b", "..."), Document("c", "")])
    assert parked(kb) == {}


@settings(max_examples=12)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 12), st.integers(6, 60)), min_size=2, max_size=8),
    st.sampled_from([0.3, 0.6, 0.9, 1.0]),
)
def test_no_text_below_the_threshold_is_ever_left_out(tmp_path_factory, made, threshold):
    with make(tmp_path_factory.mktemp("p"), threshold) as kb:
        given = {f"d{n}": text(seed, words, changed) for n, (seed, changed, words) in enumerate(made)}
        kb.add([Document(name, body) for name, body in given.items()])
        for copy, original in parked(kb).items():
            assert jaccard(given[copy], given[original]) >= threshold
            assert original in indexed(kb)
        assert indexed(kb) | set(parked(kb)) == set(given)
        for one in given:
            for other in given:
                if one < other and given[one] == given[other]:
                    assert len({one, other} & indexed(kb)) <= 1, "equal texts are always found"


@settings(max_examples=8)
@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from([None, 1, 2])), min_size=1, max_size=10))
def test_whatever_comes_and_goes_every_text_is_indexed_once(tmp_path_factory, changes):
    """Each wording that some live document has is indexed in exactly one of them."""
    live = {}
    with make(tmp_path_factory.mktemp("p")) as kb:
        for name, seed in changes:
            if seed is None:
                kb.delete([name])
                live.pop(name, None)
            else:
                kb.add([Document(name, text(seed))])
                live[name] = seed
            assert sorted(live[one] for one in indexed(kb)) == sorted(set(live.values()))
        assert kb.verify() == []
