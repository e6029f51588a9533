"""What goes wrong around a knowledge base must not go wrong in silence."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from llmkit.encoders.hashing import HashingEncoder
from llmkit.errors import KnowledgeError
from llmkit.knowledge.knowledge_base import KnowledgeBase
from llmkit.knowledge.local.lexical.index import LexicalIndex
from llmkit.knowledge.local.vectors.flat_index import FlatIndex
from llmkit.retrieval.dense_and_bm25 import BM25, Dense
from llmkit.retrieval.mmr import MaximalMarginalRelevance
from llmkit.types import Document


@pytest.fixture
def kb(tmp_path):
    with KnowledgeBase.create(tmp_path / "kb", encoder=HashingEncoder()) as kb:
        yield kb


def live(kb) -> set[str]:
    return {document.id for document in kb.store.catalog.documents("died IS NULL")}


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
        kb.search_dense(queries.astype(np.float32), 3)


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
    ((words, _),) = kb.search_bm25([query], 5)
    ((near, _),) = kb.search_dense(kb.encoder.encode_queries([query]), 5)
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

        kb.snapshot().lexical._searcher = Broken()
        assert BM25().retrieve(kb, ["apple"], 1)[0][0].chunk.document == "a"
        assert kb.take_notes() == ["the BM25 index was damaged and has been rebuilt from the catalogue"]


def mounted(folder, *options):
    """Mount a small file system, or skip where that is not allowed."""
    folder.mkdir()
    done = subprocess.run(["mount", *options, str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"needs the right to mount: {done.stderr.strip()}")


@pytest.mark.slow
def test_a_full_disk_is_told_and_nothing_is_lost(tmp_path):
    """On a disk of 4 MB, with less and less room: each add is whole or was never there."""
    mounted(tmp_path / "small", "-t", "tmpfs", "-o", "size=4m", "tmpfs")
    path = tmp_path / "small" / "kb"
    try:
        stone = tmp_path / "small" / "stone"
        with KnowledgeBase.create(path, encoder=HashingEncoder()) as kb:
            kb.add([Document("first", "A lantern by the river.")])
        told, held = set(), {"first"}
        for room in range(0, 700 << 10, 16 << 10):
            stone.unlink(missing_ok=True)
            free = shutil.disk_usage(tmp_path / "small").free
            stone.write_bytes(bytes(max(0, free - room)))
            name = f"room-{room}"
            try:
                with KnowledgeBase.open(path) as kb:
                    kb.add([Document(name, f"Words for {room} bytes. " * 200)])
                held.add(name)
            except KnowledgeError as error:
                told.add(str(error).split(str(path))[-1])
            stone.unlink()
            with KnowledgeBase.open(path) as kb:
                assert held <= live(kb) <= held | {name}
                held = live(kb)
                assert found(kb, "lantern")[0] == {"first"}
                kb.delete(["first"])
                kb.add([Document("first", "A lantern by the river.")])
                assert kb.verify() == []
                kb.compact()
        assert told
        assert len(held) > 2
    finally:
        subprocess.run(["umount", "-l", str(tmp_path / "small")], check=True)


def test_on_a_disk_for_reading_only_the_words_are_verified_without_opening_them(tmp_path, monkeypatch):
    monkeypatch.setattr("llmkit.knowledge.local.maintenance.verify.read_only", lambda path: True)
    monkeypatch.setattr("llmkit.knowledge.local.maintenance.verify.LexicalIndex", None)
    path = tmp_path / "kb"
    with KnowledgeBase.create(path, encoder=HashingEncoder()) as kb:
        assert kb.verify() == []  # nothing was ever written
        kb.add([Document("one", "first words"), Document("two", "second words")])
        kb.delete(["one"])
        kb.as_reader([]).search_bm25(["words"], 1)
        assert kb.verify() == []
        (view,) = (path / "lexical" / "views").iterdir()
        next(view.glob("*.term")).unlink()
        assert [one.what for one in kb.verify()] == [f"the index of a reader's words, views/{view.name}, is damaged"]
        (path / "lexical" / "generation").write_text("1")
        assert "the index is at generation 1, the catalogue at 2" in [one.what for one in kb.verify()]


@pytest.mark.slow
def test_a_disk_that_is_for_reading_only_is_read(tmp_path):
    with KnowledgeBase.create(tmp_path / "kb", encoder=HashingEncoder()) as kb:
        kb.add([Document("one", "first words"), Document("two", "second words")])
    mounted(tmp_path / "seen", "--bind", "-o", "ro", str(tmp_path / "kb"))
    try:
        with KnowledgeBase.open(tmp_path / "seen") as kb:
            assert found(kb, "second") == ({"two"}, {"one", "two"})
            assert found(kb, "first") == ({"one"}, {"one", "two"})
            for write in (lambda: kb.add([Document("x", "y")]), lambda: kb.delete(["one"]), lambda: kb.compact()):
                with pytest.raises(KnowledgeError, match=r"cannot be written: .*Read-only file system"):
                    write()
            assert kb.verify() == []
            part = next((tmp_path / "kb" / "lexical").glob("*.idx"))
            whole = part.read_bytes()
            part.write_bytes(bytes(1) + whole[1:] if whole[0] else b"x" + whole[1:])
            assert [one.what for one in kb.verify()] == [f"{part.name} is not what was written: its checksum differs"]
            part.unlink()
            assert [one.what for one in kb.verify()] == [f"{part.name} is not there"]
            part.write_bytes(whole)
    finally:
        subprocess.run(["umount", "-l", str(tmp_path / "seen")], check=True)
    with KnowledgeBase.open(tmp_path / "kb") as kb:
        kb.add([Document("x", "y")])  # a last one that lies in SQLite's log only
        shutil.copytree(tmp_path / "kb", tmp_path / "copy")
    (tmp_path / "copy" / "catalog.sqlite-shm").unlink()
    mounted(tmp_path / "log", "--bind", "-o", "ro", str(tmp_path / "copy"))
    try:
        with pytest.raises(KnowledgeError, match="copy the folder"):
            KnowledgeBase.open(tmp_path / "log")
    finally:
        subprocess.run(["umount", "-l", str(tmp_path / "log")], check=True)


FLIPS = int(os.environ.get("LLMKIT_FLIPS", "24"))


def answers(path, words_best=3):
    """Everything that a reader may be told."""
    with KnowledgeBase.open(path) as kb:
        texts = [document.text for document in kb.store.catalog.documents("died IS NULL ORDER BY id")]
        near = kb.search_dense(kb.encoder.encode_queries(texts), 3)
        words = kb.search_bm25(texts, words_best)
        if words_best == 1:  # a new index counts no words of the dead: the same passage, another score
            words = [(row, np.ones(1)) for row, _ in words]
        rows = kb.live_rows()
        parts = [[(one.tolist(), np.round(score, 4).tolist()) for one, score in part] for part in (near, words)]
        documents = [
            (one.id, one.text, one.title, one.metadata) for one in kb.store.catalog.documents("1 ORDER BY seq")
        ]
        return json.dumps([kb.chunks(rows), parts, documents, kb.log(), kb.dim, kb.identity], default=repr)


@pytest.mark.slow
def test_a_flipped_bit_anywhere_is_told_or_changes_no_answer(tmp_path):
    whole = tmp_path / "whole"
    with KnowledgeBase.create(whole, encoder=HashingEncoder()) as kb:
        kb.add([Document(f"d{n}", f"Fruit {n} of garden {n * 7}. " * 12, "Gardens", {"n": n}) for n in range(40)])
        kb.add([Document("d1", "Another fruit altogether."), Document("e", "A bridge of stone.")])
        kb.delete(["d2"])
        kb.search_bm25(["fruit"], 1)
    right, repaired = answers(whole), answers(whole, 1)
    chance, trial = random.Random(8), tmp_path / "trial"
    fates, silent = Counter(), []
    files = [path.relative_to(whole) for path in whole.rglob("*") if path.is_file() and path.stat().st_size]
    assert len(files) > 8
    for file in files:
        for flip in range(FLIPS if file.name == "catalog.sqlite" else FLIPS // 8):
            shutil.rmtree(trial, ignore_errors=True)
            shutil.copytree(whole, trial)
            data = bytearray((trial / file).read_bytes())
            at = chance.randrange(len(data)) if flip else 0  # the first byte of each, where formats name themselves
            data[at] ^= 1 << chance.randrange(8)
            (trial / file).write_bytes(data)
            try:
                with KnowledgeBase.open(trial) as kb:
                    told = kb.verify()
                same = answers(trial) == right
            except KnowledgeError:
                fates["refused"] += 1
                continue
            except Exception as error:
                silent.append(f"{file} byte {at}: {error!r}")
                continue
            fates["found by verify" if told else "harmless" if same else "silent"] += 1
            if not told and not same:
                silent.append(f"{file} byte {at}")
            if told and all(finding.repairable for finding in told):
                with KnowledgeBase.open(trial) as kb:
                    kb.repair()
                    assert kb.verify() == []
                assert answers(trial, 1) == repaired
                fates["repaired"] += 1
    assert silent == [], fates
    assert fates["refused"]
    assert fates["repaired"]


LIMITED = """
import resource, sys
from llmkit.errors import KnowledgeError
from llmkit.knowledge.knowledge_base import KnowledgeBase
from llmkit.types import Document
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    with KnowledgeBase.open(sys.argv[1]) as kb:
        kb.add([Document(sys.argv[2], "More words. " * 300)])
    print("added")
except KnowledgeError as error:
    print("told", error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="has no limit on the size of files")
def test_files_that_may_not_grow_are_told_and_nothing_is_lost(tmp_path):
    path = tmp_path / "kb"
    with KnowledgeBase.create(path, encoder=HashingEncoder()) as kb:
        kb.add([Document("first", "A lantern by the river.")])
    environment, said, held = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, [], {"first"}
    for limit in (10, 300, 2000, 5000, 30_000, 100_000, 1 << 30):
        command = [sys.executable, "-c", LIMITED, str(path), str(limit)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (limit, done.stderr[-1500:])
        said.append(done.stdout.split()[0])
        with KnowledgeBase.open(path) as kb:
            assert held <= live(kb) <= held | {str(limit)}
            assert str(limit) in live(kb) or said[-1] == "told"
            held = live(kb)
            assert found(kb, "lantern")[0] == {"first"}
            kb.delete([str(limit)])
            held.discard(str(limit))
            kb.add([Document("again", f"Again {limit}.")])
            held.add("again")
            assert kb.verify() == []
    assert said[0] == "told"
    assert said[-1] == "added"


def test_a_folder_without_its_catalogue_is_told_for_what_it_is(tmp_path):
    with KnowledgeBase.create(tmp_path / "kb", encoder=HashingEncoder()) as kb:
        kb.add([Document("a", "The bridge of stone.")])
    (tmp_path / "kb" / "catalog.sqlite").write_bytes(b"")
    for suffix in ("-wal", "-shm"):
        (tmp_path / "kb" / f"catalog.sqlite{suffix}").unlink(missing_ok=True)
    with pytest.raises(KnowledgeError, match="holds nothing: ingest again into another folder"):
        KnowledgeBase.open(tmp_path / "kb")
    (tmp_path / "kb" / "catalog.sqlite").unlink()
    with pytest.raises(KnowledgeError, match=r"its catalog\.sqlite is lost: restore that, or choose another folder"):
        KnowledgeBase.create(tmp_path / "kb", encoder=HashingEncoder())
