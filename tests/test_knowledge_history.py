"""Time in a knowledge base: any kept generation reads as it was, whatever was done since."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmkit.encoders.hashing import HashingEncoder
from llmkit.errors import DataError, KnowledgeError
from llmkit.knowledge.knowledge_base import KnowledgeBase
from llmkit.knowledge.local import generations
from llmkit.knowledge.local.lock import writer_lock
from llmkit.retrieval.dense_and_bm25 import BM25, Dense
from llmkit.types import Document

WORDS = "apple pear plum cherry quince melon garden week river bridge stone tower".split()


def text(seed):
    chance = random.Random(seed)
    return ". ".join(" ".join(chance.choices(WORDS, k=6)) for _ in range(3)) + "."


@pytest.fixture
def kb(tmp_path):
    with KnowledgeBase.create(tmp_path / "kb", encoder=HashingEncoder()) as kb:
        kb.add([Document("a", text("a1")), Document("b", text("b1"))])
        kb.add([Document("a", text("a2")), Document("c", text("c1"))])
        kb.delete(["b"])
        yield kb


def contents(kb):
    return {document.id: document.text for name in kb.versions() for document in [kb.document(name)]}


def answers(kb):
    """What searching gives, by words and by vectors."""
    found = []
    for query in ("quince in the garden", "stone bridge"):
        for retriever in (Dense(), BM25()):
            (hits,) = retriever.retrieve(kb, [query], 4)
            found.append([(hit.chunk.document, hit.chunk.text, round(hit.score, 5)) for hit in hits])
    return found


def test_every_generation_is_listed_with_what_came_and_went(kb):
    assert [(one.id, one.added, one.removed, one.readable) for one in kb.log()] == [
        (1, 2, 0, True), (2, 2, 1, True), (3, 0, 1, True)
    ]  # fmt: skip
    assert kb.diff(1, 3) == generations.Diff(("c",), ("b",), ("a",))
    assert kb.diff(3, 1) == generations.Diff(("b",), ("c",), ("a",))


def test_an_older_generation_reads_as_it_was(kb):
    with KnowledgeBase.open(kb.path, as_of=1) as old:
        assert contents(old) == {"a": text("a1"), "b": text("b1")}
        with KnowledgeBase.create(kb.path.parent / "again", encoder=HashingEncoder()) as again:
            again.add([Document("a", text("a1")), Document("b", text("b1"))])
            assert answers(old) == answers(again)
        old.refresh()
        assert old.generation == 1
        for write in (lambda: old.add([]), lambda: old.delete(["a"]), lambda: old.rollback(1), lambda: old.compact()):
            with pytest.raises(KnowledgeError, match="the past is for reading only"):
                write()


def test_a_date_names_the_last_generation_of_that_day(kb):
    day = kb.log()[0].at[:10]
    assert generations.resolve(kb.store.catalog, day) == 3
    with pytest.raises(KnowledgeError, match="no generation at 1999-01-01"):
        generations.resolve(kb.store.catalog, "1999-01-01")
    with pytest.raises(KnowledgeError, match="neither a generation nor a date"):
        generations.resolve(kb.store.catalog, "yesterday")
    with pytest.raises(KnowledgeError, match="the last is 3"):
        generations.resolve(kb.store.catalog, 9)


def test_going_back_encodes_nothing_and_loses_nothing(kb, monkeypatch):
    then = KnowledgeBase.open(kb.path, as_of=1)
    before = answers(then)

    def refuse(self, texts):
        raise AssertionError("nothing is to be encoded")

    monkeypatch.setattr(HashingEncoder, "encode_passages", refuse)
    assert kb.rollback(1) == generations.Diff(("b",), ("c",), ("a",))
    monkeypatch.undo()
    assert contents(kb) == {"a": text("a1"), "b": text("b1")}
    assert answers(kb) == before
    assert kb.verify() == []
    with KnowledgeBase.open(kb.path, as_of=3) as past:
        assert set(contents(past)) == {"a", "c"}
    assert kb.rollback(kb.generation) == generations.Diff((), (), ())


def test_files_that_were_rolled_back_are_read_again(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "one.txt").write_text("The pump is red.")
    with KnowledgeBase.create(tmp_path / "kb", encoder=HashingEncoder()) as kb:
        kb.ingest([tmp_path / "docs"])
        (tmp_path / "docs" / "one.txt").write_text("The pump is blue.")
        kb.ingest([tmp_path / "docs"])
        kb.rollback(1)
        assert contents(kb) == {"docs/one.txt": "The pump is red."}
        assert kb.ingest([tmp_path / "docs"]).documents == 1
        assert contents(kb) == {"docs/one.txt": "The pump is blue."}


def test_a_compaction_keeps_what_it_says_and_gives_space_back(kb):
    before = answers(kb)
    gone = kb.compact(keep=2)
    assert (gone.documents, generations.oldest(kb.store.catalog)) == (
        1,
        2,
    )  # the first version of a; b still lives in 2
    assert answers(kb) == before
    assert kb.verify() == []
    with KnowledgeBase.open(kb.path, as_of=2) as past:
        assert set(contents(past)) == {"a", "b", "c"}
    with pytest.raises(KnowledgeError, match="it was compacted, the oldest kept is 2"):
        KnowledgeBase.open(kb.path, as_of=1)
    kb.compact()
    assert kb.store.catalog.rows("SELECT count(*) FROM documents WHERE died IS NOT NULL") == [(0,)]
    assert answers(kb) == before
    assert not kb.log()[0].readable
    kb.add([Document("d", text("d1"))])
    assert kb.verify() == []


def test_rows_of_what_was_purged_are_not_given_again(kb):
    used = {row for (row,) in kb.store.catalog.rows("SELECT row FROM chunks")}
    kb.forget(["a", "b", "c"])
    kb.add([Document("new", text("new"))])
    assert not used & {row for (row,) in kb.store.catalog.rows("SELECT row FROM chunks")}


def test_what_is_forgotten_is_in_no_file(tmp_path):
    secret = "Zyxgraben-4711"
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / f"{secret}.txt").write_text(f"The code of the vault is {secret}. " * 20)
    (tmp_path / "docs" / "other.txt").write_text("The garden has a quince.")
    with KnowledgeBase.create(tmp_path / "kb", encoder=HashingEncoder()) as kb:
        kb.ingest([tmp_path / "docs" / f"{secret}.txt", tmp_path / "docs" / "other.txt"])
        (name,) = [name for name in contents(kb) if secret in name]
        (tmp_path / "docs" / f"{secret}.txt").write_text(f"Changed: {secret}.")
        kb.ingest([tmp_path / "docs" / f"{secret}.txt"])
        BM25().retrieve(kb, [secret], 3)
        vector = kb.encoder.encode_passages([f"{secret}.txt\nChanged: {secret}."])[0].astype("<f4").tobytes()
        assert kb.forget([name]).documents == 2
        assert list(contents(kb).values()) == ["The garden has a quince."]
        assert kb.verify() == []
        for as_of in range(1, kb.generation + 1):
            with KnowledgeBase.open(kb.path, as_of=as_of) as past:
                assert not any(secret in one for one in contents(past).values())
    needles = [secret.encode(), secret.lower().encode(), b"zyxgraben", vector]
    for path in (tmp_path / "kb").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not [needle for needle in needles if needle in content], path.name


def test_forgetting_what_never_was_forgets_nothing(kb):
    with pytest.raises(KnowledgeError, match=r"no document 'x' in any generation \(misspelt, or forgotten already\)"):
        kb.forget(["a", "x"])
    assert "a" in contents(kb)
    kb.add([Document("notes/a.md", "x")])
    with pytest.raises(KnowledgeError, match=r"did you mean 'notes/a\.md'\?; nothing was forgotten"):
        kb.forget(["a.md"])


def test_a_reader_keeps_its_generation_through_all_of_it(kb):
    with KnowledgeBase.open(kb.path) as reader:
        before = answers(reader)
        kb.add([Document("e", text("e1"))])
        kb.rollback(1)
        assert answers(reader)[::2] == before[::2]
        reader.refresh()
        assert set(contents(reader)) == {"a", "b"}


@pytest.mark.parametrize(
    "fault", ["vectors missing", "vectors torn", "vectors changed", "lexical gone", "lexical torn", "stray"]
)
def test_what_is_damaged_is_found_and_mended(kb, fault):
    before = answers(kb)
    vectors = sorted((kb.path / "vectors").glob("*.npy"))
    assert kb.verify() == []
    kb.close()
    if fault == "vectors missing":
        vectors[0].unlink()
    elif fault == "vectors torn":
        vectors[0].write_bytes(vectors[0].read_bytes()[:-20])
    elif fault == "vectors changed":
        content = bytearray(vectors[0].read_bytes())
        content[-9] ^= 0xFF
        vectors[0].write_bytes(bytes(content))
    elif fault == "lexical gone":
        (kb.path / "lexical" / "generation").unlink()
    elif fault == "lexical torn":
        for path in (kb.path / "lexical").glob("*.term"):
            path.write_bytes(path.read_bytes()[:10])
    else:
        (kb.path / "vectors" / "99999999-1.npy").write_bytes(b"left by a crash")
    with KnowledgeBase.open(kb.path) as again:
        found = again.verify()
        assert found
        assert all(one.repairable for one in found)
        assert again.repair() == found
        assert again.verify() == []
        assert answers(again) == before


def test_a_damaged_catalogue_is_not_called_repairable(kb):
    kb.store.catalog.rows("UPDATE chunks SET text = 'other' WHERE row = 1")
    found = kb.verify()
    assert {(one.part, one.repairable) for one in found} == {("catalogue", False)}
    with pytest.raises(KnowledgeError, match=r"cannot be repaired: .*the text of 1 chunks"):
        kb.repair()


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.sampled_from("abcdef"), st.integers(0, 5)),
        st.tuples(st.just("delete"), st.sampled_from("abcdef"), st.just(0)),
        st.tuples(st.just("rollback"), st.just(""), st.integers(0, 6)),
        st.tuples(st.just("compact"), st.just(""), st.integers(1, 4)),
        st.tuples(st.just("forget"), st.sampled_from("abcdef"), st.just(0)),
    ),
    max_size=12,
)


@settings(max_examples=25)
@given(operations=OPERATIONS)
def test_any_history_equals_a_rebuild(operations, tmp_path_factory):
    folder = tmp_path_factory.mktemp("any")
    past: dict[int, dict[str, str]] = {0: {}}
    with KnowledgeBase.create(folder / "kb", encoder=HashingEncoder()) as kb:
        for what, name, number in operations:
            now = dict(past[kb.generation])
            if what == "add":
                kb.add([Document(name, text(f"{name}{number}"))])
                now[name] = text(f"{name}{number}")
            elif what == "delete":
                kb.delete([name])
                now.pop(name, None)
            elif what == "rollback":
                target = max(generations.oldest(kb.store.catalog), kb.generation - number)
                kb.rollback(target)
                now = dict(past[target])
            elif what == "compact":
                kb.compact(keep=number)
            elif kb.store.catalog.rows("SELECT 1 FROM documents WHERE id = ?", (name,)):
                kb.forget([name])
                for known in (now, *past.values()):
                    known.pop(name, None)
            past[kb.generation] = now
        assert kb.verify() == []
        for generation in range(generations.oldest(kb.store.catalog), kb.generation + 1):
            with KnowledgeBase.open(kb.path, as_of=generation) as old:
                assert contents(old) == past[generation]
        with KnowledgeBase.create(folder / "again", encoder=HashingEncoder()) as again:
            again.add([Document(name, words) for name, words in past[kb.generation].items()])
            fresh = answers(again)
        assert scores(answers(kb)[::2]) == pytest.approx(scores(fresh[::2]), abs=1e-4)  # vectors
        with kb.as_reader("") as view, KnowledgeBase.open(folder / "again", reader="") as new:
            assert scores(answers(view)) == scores(answers(new))  # a reader's words count nothing that was deleted
        kb.compact()  # until then BM25's statistics count what was deleted
        assert scores(answers(kb)) == pytest.approx(scores(fresh), abs=1e-4)


def scores(found):
    return [score for hits in found for *_, score in hits]


def test_what_is_forgotten_goes_under_its_older_names_too(tmp_path):
    with KnowledgeBase.create(tmp_path / "kb", encoder=HashingEncoder()) as kb:
        kb.add(
            [Document("old", "The Quetzal flies."), Document("twin", "The Quetzal flies."), Document("b", "Others.")]
        )
        kb.delete(["old"])
        kb.add([Document("new", "The Quetzal flies.")])
        asked = []
        gone = kb.forget(["new"], before=asked.append)
        assert asked == [["new", "old"]]
        assert (gone.namesakes, gone.copies) == (("old",), ("twin",))
        kb.forget(["twin"])
    assert not any(b"Quetzal" in path.read_bytes() for path in (tmp_path / "kb").rglob("*") if path.is_file())


def test_where_forgetting_cannot_be_done_nothing_else_is_erased(tmp_path):
    with KnowledgeBase.create(tmp_path / "kb", encoder=HashingEncoder()) as kb:
        kb.add([Document("a", "The Quetzal flies.")])
        asked = []
        with writer_lock(tmp_path / "kb", "test"), pytest.raises(KnowledgeError, match="is busy"):
            kb.forget(["a"], before=asked.append)
        with pytest.raises(KnowledgeError, match="no document 'nobody' in any"):
            kb.forget(["a", "nobody"], before=asked.append)
        assert asked == []

        def fail(names):
            raise DataError("a run is being written")

        with pytest.raises(DataError):
            kb.forget(["a"], before=fail)
        assert kb.document("a").text == "The Quetzal flies."
