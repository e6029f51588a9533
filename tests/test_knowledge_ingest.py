"""Ingest: what is encoded, what is left alone, what disappears, what an interruption leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmkit import registry
from llmkit.encoders.hashing import HashingEncoder
from llmkit.errors import DataError, KnowledgeError
from llmkit.knowledge.ingestion import writer
from llmkit.knowledge.knowledge_base import KnowledgeBase
from llmkit.knowledge.local.lexical.index import LexicalIndex
from llmkit.types import Document


class CountingEncoder(HashingEncoder):
    """A hashing encoder that counts the passages it is given."""

    type: ClassVar[str] = "counting"
    seen: ClassVar[list[str]] = []

    def encode_passages(self, texts):
        CountingEncoder.seen += texts
        return super().encode_passages(texts)


@pytest.fixture(autouse=True)
def _counting(monkeypatch):
    table = {**registry.BUILTIN, "encoder": {**registry.BUILTIN["encoder"], "counting": f"{__name__}:CountingEncoder"}}
    monkeypatch.setattr(registry, "BUILTIN", table)
    CountingEncoder.seen.clear()


def encoded() -> list[str]:
    seen = list(CountingEncoder.seen)
    CountingEncoder.seen.clear()
    return seen


@pytest.fixture
def kb(tmp_path):
    with KnowledgeBase.create(tmp_path / "kb", encoder=CountingEncoder(max_tokens=64)) as kb:
        yield kb


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "notes"
    folder.mkdir()
    for name in ("alpha", "beta", "gamma"):
        paragraphs = [f"Paragraph {i} of {name} speaks about {name}{i}. " + f"{name} " * 30 for i in range(4)]
        (folder / f"{name}.txt").write_text("\n\n".join(paragraphs))
    return folder


def found(kb, query):
    ((rows, _),) = kb.search_bm25([query], 5)
    return [chunk.document for chunk in kb.chunks(rows)]


def check_in_step(kb):
    """Catalogue, vectors and terms say the same, and every vector is the one of its own chunk."""
    live = kb.live_rows()
    assert kb.snapshot().index.ids().tolist() == live.tolist()
    assert kb.snapshot().lexical.rows().tolist() == live.tolist()
    if len(live):
        chunks = kb.chunks(live)
        expected = kb.encoder.encode_queries([chunk.indexed_text for chunk in chunks])
        np.testing.assert_allclose(kb.vectors(live), expected, atol=1e-6)
        for chunk in chunks:
            assert kb.document(chunk.document).text[chunk.start : chunk.end] == chunk.text
            assert kb.document(chunk.document).version == chunk.version


def test_a_second_ingest_encodes_nothing_and_says_so(kb, folder):
    first = kb.ingest([folder])
    assert (first.files, first.documents, first.encoded) == (3, 3, first.chunks)
    assert len(encoded()) == first.chunks
    second = kb.ingest([folder])
    assert (second.files, second.unchanged, second.chunks, second.encoded, second.removed) == (3, 3, 0, 0, 0)
    assert encoded() == []
    assert second.generation == first.generation
    check_in_step(kb)


def test_a_folder_in_the_home_is_found(kb, folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder.parent))
    assert kb.ingest([f"~/{folder.name}"]).files == 3


def test_an_edited_paragraph_encodes_its_own_chunk_only(kb, folder):
    kb.ingest([folder])
    encoded()
    path = folder / "beta.txt"
    path.write_text(path.read_text().replace("beta2.", "zebra."))
    summary = kb.ingest([folder])
    assert summary.unchanged == 2
    assert summary.encoded == len(encoded()) == 1
    assert summary.reused == summary.chunks - 1
    assert found(kb, "zebra") == ["notes/beta.txt"]
    assert found(kb, "beta2") == []
    check_in_step(kb)


def test_a_renamed_file_is_not_encoded_again(kb, folder):
    kb.ingest([folder])
    encoded()
    (folder / "alpha.txt").rename(folder / "omega.txt")
    summary = kb.ingest([folder])
    assert encoded() == []
    assert (summary.documents, summary.removed) == (1, 1)
    assert set(found(kb, "alpha1")) == {"notes/omega.txt"}
    check_in_step(kb)


def test_a_removed_file_disappears_and_only_under_the_roots_that_were_looked_at(kb, folder, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text("A lonely quokka.")
    kb.ingest([folder, other])
    (folder / "gamma.txt").unlink()
    other.unlink()
    summary = kb.ingest([folder])
    assert summary.removed == 1
    assert found(kb, "gamma1") == []
    assert found(kb, "quokka") == ["other.txt"]
    check_in_step(kb)


def test_a_root_that_is_not_there_is_an_error_and_removes_nothing(kb, folder, tmp_path):
    kb.ingest([folder])
    with pytest.raises(DataError, match="nowhere"):
        kb.ingest([tmp_path / "nowhere"])
    assert kb.count == kb.status().chunks > 0


def test_a_file_that_breaks_keeps_what_was_read_before(kb, folder):
    kb.ingest([folder])
    (folder / "alpha.txt").write_bytes(os.urandom(4000))
    summary = kb.ingest([folder])
    assert summary.failed == 1
    assert any("what was read from it before is kept" in reason for _, _, reason in summary.problems)
    assert found(kb, "alpha1")[0] == "notes/alpha.txt"
    (broken,) = [file for file in kb.files() if file.status != "parsed"]
    assert broken.chunks > 0
    assert broken.reason
    check_in_step(kb)


def test_a_knowledge_base_does_not_read_itself(tmp_path):
    (tmp_path / "note.txt").write_text("words")
    with KnowledgeBase.create(tmp_path / "kb", encoder=HashingEncoder()) as kb:
        assert kb.ingest([tmp_path]).files == 1
        assert kb.ingest([tmp_path]).unchanged == 1


@pytest.mark.skipif(os.name != "posix", reason="makes a link as on POSIX systems")
def test_a_file_that_cannot_be_looked_at_any_more_keeps_what_was_read(kb, folder):
    kb.ingest([folder])
    (folder / "alpha.txt").unlink()
    (folder / "alpha.txt").symlink_to("/etc/hostname")
    summary = kb.ingest([folder])
    assert summary.skipped == 1
    assert summary.removed == 0
    assert found(kb, "alpha1")[0] == "notes/alpha.txt"


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_rows_are_documents_with_their_own_ids_and_change_one_by_one(kb, tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = [{"_id": f"d{i}", "title": f"T{i}", "text": f"text number {i}", "lang": "en"} for i in range(50)]
    write_rows(path, rows)
    kb.ingest([path])
    assert kb.document("d7").title == "T7"
    assert kb.document("d7").text == "text number 7"
    assert kb.document("d7").metadata["lang"] == "en"
    encoded()
    rows[7]["text"] = "something else"
    write_rows(path, rows[:-1])
    summary = kb.ingest([path])
    assert (summary.documents, summary.removed, summary.encoded) == (1, 1, 1)
    with pytest.raises(KnowledgeError, match="no document 'd49'"):
        kb.document("d49")
    check_in_step(kb)


def test_an_id_that_is_taken_is_stored_under_another_name_and_said(kb, tmp_path):
    for name in ("a", "b"):
        write_rows(tmp_path / f"{name}.jsonl", [{"id": "1", "text": f"only {name}"}])
    summary = kb.ingest([tmp_path / "a.jsonl", tmp_path / "b.jsonl"])
    assert kb.document("1").text == "only a"
    assert kb.document("b.jsonl:1").text == "only b"
    assert any("ids are taken by other sources" in reason for _, _, reason in summary.problems)
    assert kb.ingest([tmp_path / "a.jsonl", tmp_path / "b.jsonl"]).unchanged == 2


def test_a_renamed_row_file_keeps_its_ids(kb, tmp_path):
    folder = tmp_path / "rows"
    folder.mkdir()
    write_rows(folder / "a.jsonl", [{"id": "x", "text": "the only row"}])
    kb.ingest([folder])
    (folder / "a.jsonl").rename(folder / "z.jsonl")
    kb.ingest([folder])
    assert kb.document("x").text == "the only row"
    assert kb.status().documents == 1


def test_add_and_delete_through_the_api(kb):
    kb.add([Document("one", "first words"), Document("two", "second words")])
    kb.add([Document("two", "other words"), Document("three", "third words")])
    assert kb.status().documents == 3
    assert kb.delete(["two", "never"]) == 1
    assert found(kb, "other") == []
    check_in_step(kb)


def test_an_interruption_leaves_the_last_commit_and_the_next_run_goes_on(kb, tmp_path, monkeypatch):
    folder = tmp_path / "many"
    folder.mkdir()
    for i in range(30):
        (folder / f"{i:02}.txt").write_text(f"Document {i} about subject{i}.")
    monkeypatch.setattr(writer, "_BATCH_CHUNKS", 10)

    def stop(progress):
        if progress.files == 25:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kb.ingest([folder], on_progress=stop)
    kept = kb.status().documents
    assert kept == 20
    check_in_step(kb)
    encoded()
    summary = kb.ingest([folder])
    assert (summary.unchanged, summary.documents) == (kept, 30 - kept)
    assert summary.encoded == len(encoded()) == 30 - kept
    assert kb.status().documents == 30
    check_in_step(kb)


def rows_interrupted_in_the_middle(kb, path, monkeypatch):
    """What a second version of 30 rows leaves that is stopped after one of its batches."""
    monkeypatch.setattr(writer, "_BATCH_CHUNKS", 10)
    first = [{"id": f"d{i}", "text": f"old text {i}"} for i in range(30)]
    write_rows(path, first)
    kb.ingest([path])
    write_rows(path, [{**row, "text": row["text"].replace("old", "new")} for row in first])
    commit, stop = type(kb.store.catalog).commit, iter([False, False, True])

    def interrupted(self, note):
        if next(stop):
            raise KeyboardInterrupt
        return commit(self, note)

    with monkeypatch.context() as patch:
        patch.setattr(type(kb.store.catalog), "commit", interrupted)
        with pytest.raises(KeyboardInterrupt):
            kb.ingest([path])
    assert 0 < len([d for d in kb.store.catalog.documents("died IS NULL") if d.text.startswith("new")]) < 30
    return first


def test_a_file_of_rows_that_was_interrupted_is_not_called_unchanged_when_it_is_put_back(kb, tmp_path, monkeypatch):
    path = tmp_path / "rows.jsonl"
    first = rows_interrupted_in_the_middle(kb, path, monkeypatch)
    (file,) = kb.files()
    assert (file.status, file.kind) == ("partial", "jsonl")
    write_rows(path, first)
    kb.ingest([path])
    assert {document.text for document in kb.store.catalog.documents("died IS NULL")} == {row["text"] for row in first}
    assert [file.status for file in kb.files()] == ["parsed"]
    check_in_step(kb)


def test_a_file_that_is_gone_after_an_interruption_is_taken_out(kb, tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "_BATCH_CHUNKS", 10)
    folder = tmp_path / "many"
    folder.mkdir()
    for i in range(20):
        (folder / f"{i:02}.txt").write_text(f"Document {i} about subject{i}.")

    def stop(progress):
        if progress.files == 15:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kb.ingest([folder], on_progress=stop)
    assert {file.kind for file in kb.files()} == {"text"}
    (folder / "09.txt").unlink()
    kb.ingest([folder])
    assert kb.status().documents == 19
    assert not any(document.id == "many/09.txt" for document in kb.store.catalog.documents("died IS NULL"))


WRITER = """
import sys
from pathlib import Path
from llmkit.encoders.hashing import HashingEncoder
from llmkit.knowledge.knowledge_base import KnowledgeBase
from llmkit.types import Document
path = Path(sys.argv[1])
kb = KnowledgeBase.open(path) if path.exists() else KnowledgeBase.create(path, encoder=HashingEncoder(dim=32))
print("ready", flush=True)
for batch in range(10_000):
    kb.add([Document(f"{batch}-{i}", f"batch{batch} word{i} " * 5) for i in range(20)])
    print(batch, flush=True)
"""


@pytest.mark.slow
def test_kill_9_leaves_whole_batches(tmp_path):
    path = tmp_path / "kb"
    for wait in (0.0, 0.03, 0.1, 0.2, 0.35, 0.5):
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "ready\n"
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
        done = [int(line) for line in process.stdout.read().splitlines() if line.strip().isdigit()]
        process.wait()
        with KnowledgeBase.open(path) as kb:
            check_in_step(kb)
            assert kb.count % 20 == 0
            if done:
                assert kb.document(f"{done[-1]}-19")
            kb.add([Document("after", "still writable")])
            kb.delete(["after"])


def test_a_second_writer_is_told_who_is_writing(kb, tmp_path):
    from llmkit.knowledge.local.lock import writer_lock

    with writer_lock(kb.path), pytest.raises(KnowledgeError, match=f"process {os.getpid()}"):
        kb.add([Document("x", "y")])
    kb.add([Document("x", "y")])


def test_a_reader_sees_one_generation_until_it_refreshes(kb):
    kb.add([Document("one", "first words")])
    with KnowledgeBase.open(kb.path) as reader:
        assert found(reader, "first") == ["one"]
        kb.add([Document("two", "first of all")])
        kb.delete(["one"])
        assert found(reader, "first") == ["one"]
        assert reader.document("one").text == "first words"
        assert reader.count == 1
        reader.refresh()
        assert found(reader, "first") == ["two"]


def test_a_crash_between_the_catalogue_and_the_lexical_index_is_caught_up(kb, monkeypatch):
    kb.add([Document("one", "first words")])
    monkeypatch.setattr(LexicalIndex, "update", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        kb.add([Document("two", "second words"), Document("one", "changed")])
    monkeypatch.undo()
    with KnowledgeBase.open(kb.path) as again:
        assert found(again, "second") == ["two"]
        assert found(again, "first") == []
        assert again.generation == 2
        assert again.snapshot().lexical.rows().tolist() == again.live_rows().tolist()


def test_a_damaged_lexical_index_is_rebuilt_from_the_catalogue(kb):
    kb.add([Document("one", "first words")])
    (kb.path / "lexical" / "meta.json").write_text("{broken")
    with KnowledgeBase.open(kb.path) as again:
        assert found(again, "first") == ["one"]
        assert "rebuilt" in again.take_notes()[0]


def test_vector_files_that_no_commit_names_are_dropped_and_missing_ones_named(kb):
    kb.add([Document("one", "first words")])
    stray = kb.path / "vectors" / "99999999-1.npy"
    stray.write_bytes(b"half a file")
    kb.add([Document("two", "second words")])
    assert not stray.exists()
    for path in (kb.path / "vectors").glob("*.npy"):
        path.unlink()
    with KnowledgeBase.open(kb.path) as again, pytest.raises(KnowledgeError, match=r"\.npy is missing"):
        _ = again.snapshot().index


def test_a_chunk_without_a_vector_is_reported(kb):
    kb.add([Document(f"n{i}", f"many words {i}") for i in range(5)], source="whole")
    kb.add([Document("one", "first words")], source="lost")
    kb.store.catalog.rows("DELETE FROM segments WHERE rows = 1")
    with KnowledgeBase.open(kb.path) as again:
        counts = {file.name: (file.chunks, file.embedded) for file in again.files()}
        total = again.status()
    assert counts == {"whole": (5, 5), "lost": (1, 0)}
    assert (total.chunks, total.embedded) == (6, 5)


def test_another_encoder_is_refused_and_another_precision_is_not(kb, tmp_path):
    kb.add([Document("one", "first words")])
    with KnowledgeBase.open(kb.path, encoder=HashingEncoder(dim=64)) as other:
        with pytest.raises(KnowledgeError, match="cannot be compared"):
            _ = other.encoder
    kb.store.catalog.set_meta({"identity": kb.identity.replace("/f32", "/bf16")})
    with KnowledgeBase.open(kb.path) as same:
        assert same.encoder.dim == 256
        assert "bf16" in same.take_notes()[0]


@pytest.mark.parametrize("kind", ["missing", "not ours", "file", "garbage"])
def test_opening_what_is_no_knowledge_base_says_what_to_do(tmp_path, kind):
    path = tmp_path / "x"
    if kind == "not ours":
        path.mkdir()
        (path / "letter.txt").write_text("hello")
    if kind == "file":
        path.write_text("hello")
    if kind == "garbage":
        path.mkdir()
        (path / "catalog.sqlite").write_bytes(b"not a database at all" * 100)
    with pytest.raises(KnowledgeError):
        KnowledgeBase.open(path)
    if kind in ("not ours", "file"):
        with pytest.raises(KnowledgeError):
            KnowledgeBase.create(path, encoder=HashingEncoder())


def test_many_small_commits_stay_few_files(kb):
    for i in range(40):
        kb.add([Document(f"d{i}", f"words of document {i}")])
    assert len(list((kb.path / "vectors").glob("*.npy"))) <= 7
    check_in_step(kb)
    with KnowledgeBase.open(kb.path) as again:
        check_in_step(again)


def test_the_ledger_accounts_for_every_character(kb, folder):
    kb.ingest([folder])
    total = sum(len(document.text) for document in kb.store.catalog.documents("died IS NULL"))
    assert sum(kb.status().characters.values()) == total
    assert set(kb.status().characters) <= {"indexed", "dropped: white space"}


texts = st.sampled_from(["red apple", "green pear", "blue plum pie", "red plum", "", "yellow " * 40])
changes = st.lists(
    st.tuples(st.just("add"), st.sampled_from("abcd"), texts)
    | st.tuples(st.just("delete"), st.sampled_from("abcd"), texts),
    max_size=10,
)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(changes)
def test_any_sequence_of_changes_equals_a_rebuild(tmp_path_factory, changes):
    home = tmp_path_factory.mktemp("sequence")
    model: dict[str, str] = {}
    with KnowledgeBase.create(home / "kb", encoder=HashingEncoder(dim=32, max_tokens=32)) as kb:
        for verb, name, text in changes:
            if verb == "add":
                kb.add([Document(name, text)])
                model[name] = text
            else:
                kb.delete([name])
                model.pop(name, None)
        check_in_step(kb)
        with KnowledgeBase.create(home / "new", encoder=HashingEncoder(dim=32, max_tokens=32)) as new:
            new.add([Document(name, text) for name, text in model.items()])
            query = new.encoder.encode_queries(["red plum"])
            assert scored(kb, query) == scored(new, query)


def scored(kb, query):
    ((rows, scores),) = kb.search_dense(query, 50)
    return sorted(
        (chunk.id, chunk.text, round(float(score), 5)) for chunk, score in zip(kb.chunks(rows), scores, strict=True)
    )


def test_a_document_that_was_deleted_comes_back_with_its_file(tmp_path):
    (tmp_path / "docs").mkdir()
    rows = [{"id": "a", "text": "The apple."}, {"id": "b", "text": "The pear."}]
    (tmp_path / "docs" / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with KnowledgeBase.create(tmp_path / "kb", encoder=HashingEncoder()) as kb:
        kb.ingest([tmp_path / "docs"])
        assert kb.delete(["a"]) == 1
        assert [file.status for file in kb.files()] == ["partial"]
        summary = kb.ingest([tmp_path / "docs"])
        assert (summary.documents, summary.unchanged, summary.encoded) == (1, 0, 0)
        assert kb.document("a").text == "The apple."
        kb.forget(["b"])
        assert kb.ingest([tmp_path / "docs"]).documents == 1
        assert kb.document("b").text == "The pear."
        assert kb.ingest([tmp_path / "docs"]).unchanged == 1
