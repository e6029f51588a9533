"""Access labels: what a reader may not read changes nothing in what they see, to the last byte."""

from __future__ import annotations

import json
import random
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmkit.encoders.hashing import HashingEncoder
from llmkit.errors import DataError, KnowledgeError
from llmkit.knowledge.access_labels import labels
from llmkit.knowledge.filters.where import parse
from llmkit.knowledge.knowledge_base import KnowledgeBase
from llmkit.knowledge.local import generations
from llmkit.knowledge.local.lexical import reader_indexes
from llmkit.pipeline import load_pipeline
from llmkit.pipeline.langchain import KnowledgeVectorStore
from llmkit.retrieval.dense_and_bm25 import BM25, Dense
from llmkit.retrieval.hybrid import Hybrid
from llmkit.retrieval.mmr import MaximalMarginalRelevance
from llmkit.types import Document

WORDS = "apple pear plum cherry quince melon garden week river bridge stone tower".split()
QUERIES = ["quince in the garden", "stone bridge", "Which river has a tower?", "secret"]
ALLOWED = [(), ("hr",), ("board", "hr")]
FORBIDDEN = [("board",), ("ceo", "it")]


def text(seed):
    chance = random.Random(seed)
    return ". ".join(" ".join(chance.choices(WORDS, k=6)) for _ in range(3)) + "."


def seen(kb, *, rows: bool = False):
    """Everything a reader is shown, as bytes: hits and answers of every kind, counts, files, documents."""
    found = {"count": kb.count}
    wheres = [None, parse("n >= 1"), parse("access == hr or not exists access")]
    for retriever in (Dense(), BM25(), Hybrid(), Hybrid(fusion="rrf"), MaximalMarginalRelevance()):
        for where in wheres:
            for query, hits in zip(QUERIES, retriever.retrieve(kb, QUERIES, 5, where), strict=True):
                found[f"{retriever.digest} {where} {query}"] = [
                    [hit.chunk.id, hit.chunk.text, hit.chunk.version, hit.chunk.access, hit.score, dict(hit.scores)]
                    for hit in hits
                ]
    pipeline = load_pipeline("docs-qa").with_knowledge(kb)
    for query in QUERIES:
        state = pipeline.run(query)
        answer = state.answer
        found[f"answer {query}"] = [
            answer.text, [str(citation) for citation in answer.citations], answer.abstained,
            [[hit.chunk.id, hit.score, dict(hit.scores)] for hit in state.hits],
            [record.detail for record in state.records],
        ]  # fmt: skip
    found["live"] = sorted(kb.versions())
    found["documents"] = [kb.document(name).text for name in found["live"]]
    found["status"] = [kb.status().documents, kb.status().chunks, kb.status().characters, kb.status().files]
    found["files"] = [[one.name, one.documents, one.chunks, one.reason] for one in kb.files()]
    found["notes"] = kb.take_notes()
    return json.dumps(found, sort_keys=True, default=str).encode()


def document(name, seed, access, n=0):
    return Document(name, text(seed), metadata={"n": n}, access=access)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.sampled_from("abcdef"), st.integers(0, 3), st.sampled_from(ALLOWED + FORBIDDEN)),
        st.tuples(st.just("many"), st.just(""), st.integers(0, 3), st.just(())),
        st.tuples(st.just("delete"), st.sampled_from("abcdef"), st.just(0), st.just(())),
        st.tuples(st.just("compact"), st.just(""), st.just(1), st.just(())),
        st.tuples(st.just("look"), st.just(""), st.just(0), st.just(())),
    ),
    max_size=10,
)


@settings(max_examples=8)
@given(steps=STEPS)
def test_the_forbidden_changes_not_a_byte(steps, tmp_path_factory):
    """The same history with and without the forbidden documents, looked at by one reader."""
    folder = tmp_path_factory.mktemp("access")
    with (
        KnowledgeBase.create(folder / "with", encoder=HashingEncoder()) as full,
        KnowledgeBase.create(folder / "without", encoder=HashingEncoder()) as bare,
        full.as_reader(["hr"]) as reader,
        bare.as_reader("hr") as plain,
    ):
        for what, name, seed, access in [*steps, ("look", "", 0, ())]:
            if what == "add":
                full.add([document(name, f"{name}{seed}", access, seed)])
                if access in FORBIDDEN:
                    bare.delete([name])
                else:
                    bare.add([document(name, f"{name}{seed}", access, seed)])
            elif what == "many":  # in one commit, the forbidden between the others, some of them word for word the same
                some = [
                    document(f"{seed}-{n}", f"{n // 2}", FORBIDDEN[0] if n % 3 == 1 else ALLOWED[n % 3], n)
                    for n in range(9)
                ]
                full.add(some)
                bare.add([one for one in some if one.access not in FORBIDDEN])
            elif what == "delete":
                full.delete([name])
                bare.delete([name])
            elif what == "compact":
                full.compact()
                bare.compact()
            else:
                reader.refresh()
                plain.refresh()
                assert seen(reader) == seen(plain)
        assert full.verify() == []


@pytest.fixture
def kb(tmp_path):
    with KnowledgeBase.create(tmp_path / "kb", encoder=HashingEncoder()) as kb:
        kb.add([
            Document("open", "The pump is serviced in May.", metadata={"n": 1}),
            Document("hr", "The pump costs zyxgraben.", metadata={"n": 2, "access": ["hr"]}),
            Document("ceo", "The pump is secretly broken.", metadata={"n": 3}, access=("ceo",)),
        ])  # fmt: skip
        yield kb


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (None, ()), ([], ()), ("hr", ("hr",)), (["hr", "board", "hr"], ("board", "hr")), ("hr, board", ("board", "hr")),
        ("[hr, 'board']", ("board", "hr")), ("team:ops/eu-1", ("team:ops/eu-1",)), (("人事",), ("人事",)),
    ],
)  # fmt: skip
def test_labels_are_read_in_every_form(value, found):
    assert labels(value) == found


@pytest.mark.parametrize(
    "value", ["", " ", "a b", "hr,", [""], [None], 5, {"hr": 1}, True, ["hr # comment"], "x" * 101]
)
def test_what_is_no_label_is_refused(value):
    with pytest.raises(DataError, match="access"):
        labels(value)


def test_a_document_whose_labels_cannot_be_read_is_left_out_not_opened_to_all(kb):
    summary = kb.add([Document("bad", "Salaries.", metadata={"access": {"who": "hr"}}), Document("good", "x")])
    assert summary.documents == 1
    assert "1 documents were left out for their access labels: bad: access takes labels" in summary.problems[0][2]
    kb.add([Document("good", "x", metadata={"access": 7})])  # and what was there under its name is gone
    with pytest.raises(KnowledgeError, match="no document 'bad'"):
        kb.document("bad")


def test_every_method_of_a_view_knows_only_what_may_be_read(kb):
    (secret,) = kb.live_rows(parse("document == ceo"))
    with kb.as_reader("hr") as view:
        assert (view.count, kb.count) == (2, 3)
        assert view.document("hr").access == ("hr",)
        for ask in (
            lambda: view.document("ceo"), lambda: view.chunks([secret]), lambda: view.vectors([secret]),
        ):  # fmt: skip
            with pytest.raises(KnowledgeError):
                ask()
        assert len(view.live_rows(parse("document == ceo"))) == 0
        assert {one.name for one in view.files()} == {"api"}
        assert view.status().documents == 2
        assert view.diff(0, 1).added == ("hr", "open")
        assert [(one.note, one.added) for one in view.log()] == [("", 2)]
        store = KnowledgeVectorStore(view)
        assert [one.id for one in store.get_by_ids(["ceo", "hr"])] == ["hr"]
        assert store.get_by_ids(["hr"])[0].metadata == {"n": 2, "access": ["hr"]}
        with pytest.raises(DataError, match="is not an access label"):
            KnowledgeVectorStore(kb).add_texts(["x"], [{"access": ["h r"]}])
        assert len(store.similarity_search("pump", k=9)) == 2
        narrower = view.as_reader(["ceo"])  # never more than both
        assert narrower.count == 1
        narrower.close()
        everybody = view.as_reader("")
        assert everybody.count == 1
        everybody.close()
    assert kb.count == 3


def test_a_view_is_for_reading(kb, tmp_path):
    with KnowledgeBase.open(kb.path, reader=["hr"]) as view:
        for write in (
            lambda: view.add([]), lambda: view.delete(["open"]), lambda: view.ingest([tmp_path]), lambda: view.compact(),
            lambda: view.forget(["open"]), lambda: view.rollback(0), lambda: view.repair(), lambda: view.verify(),
        ):  # fmt: skip
            with pytest.raises(KnowledgeError, match="open for reading as hr: only its owner can do this"):
                write()
        with pytest.raises(KnowledgeError):  # not even past the door
            view.snapshot().catalog.rows("DELETE FROM documents")
        assert view.snapshot().catalog.rows("SELECT count(*) FROM documents") == [(2,)]


def test_what_is_forbidden_now_has_no_past_either(kb):
    kb.add([Document("open", "The pump is serviced in May.", metadata={"n": 1}, access=("ceo",))])
    with KnowledgeBase.open(kb.path, reader="hr", as_of=1) as view:
        assert list(generations.live(view.snapshot().catalog, 1)) == ["hr"]
    with KnowledgeBase.open(kb.path, reader="hr") as view:
        old = kb.store.catalog.rows("SELECT version FROM documents WHERE id = 'open' ORDER BY seq")[0][0]
        with pytest.raises(KnowledgeError, match="no document 'open'"):
            view.document("open", old)
    with KnowledgeBase.open(kb.path, reader="ceo", as_of=1) as view:
        assert sorted(generations.live(view.snapshot().catalog, 1)) == ["ceo", "open"]
        assert BM25().retrieve(view, ["serviced"], 3)[0][0].chunk.document == "open"


def test_an_open_view_keeps_its_generation(kb):
    with kb.as_reader("hr") as view:
        before = [hit.chunk.id for hit in Dense().retrieve(view, ["pump"], 5)[0]]
        kb.add([Document("open", "Nothing.", access=("ceo",))])
        kb.delete(["hr"])
        assert [hit.chunk.id for hit in Dense().retrieve(view, ["pump"], 5)[0]] == before
        view.refresh()
        assert Dense().retrieve(view, ["pump"], 5)[0] == []


def test_indexes_of_readers_are_shared_kept_few_and_made_anew(kb):
    folder = kb.path / "lexical" / "views"
    with kb.as_reader("hr") as view, kb.as_reader("hr,other") as same:
        BM25().retrieve(view, ["pump"], 3)
        BM25().retrieve(same, ["pump"], 3)
        assert len(list(folder.iterdir())) == 1  # of two readers who may read the same
    kb.add([Document("more", "A secret.", access=("ceo",))])
    with kb.as_reader("hr") as view:
        BM25().retrieve(view, ["pump"], 3)
        assert len(list(folder.iterdir())) == 1  # what they cannot see changes nothing
    for n in range(reader_indexes.MAX_INDEXES + 3):
        kb.add([Document(f"d{n}", "pump", access=(f"l{n}",))])
        with kb.as_reader(f"l{n}") as view:
            assert len(BM25().retrieve(view, ["pump"], 9)[0]) == 2
    assert len(list(folder.iterdir())) == reader_indexes.MAX_INDEXES
    kb.compact()
    assert not folder.exists()
    with kb.as_reader("hr") as view:
        BM25().retrieve(view, ["pump"], 3)
        name = reader_indexes.view_name(view.snapshot().visible, view.language)
    for damaged in (folder / name).glob("*.term"):
        damaged.write_bytes(damaged.read_bytes()[:10])
    assert [one.what for one in kb.verify()] == [f"the index of a reader's words, views/{name}, is damaged"]
    with kb.as_reader("hr") as view:
        assert len(BM25().retrieve(view, ["pump"], 3)[0]) == 2
    assert kb.verify() == []


def test_a_folder_that_cannot_be_written_is_still_read(kb, monkeypatch):
    def full(*args, **kwargs):
        raise OSError("read-only file system")

    monkeypatch.setattr(reader_indexes.tempfile, "mkdtemp", full)
    with kb.as_reader("hr") as view:
        assert len(BM25().retrieve(view, ["pump"], 3)[0]) == 2
    assert not list((kb.path / "lexical" / "views").iterdir())


def test_words_read_before_a_purge_do_not_come_back_after_it(kb, monkeypatch):
    """A reader is killed time: it read the text, then the document was forgotten, then its index is finished."""
    made = reader_indexes.texts

    def slow(base, rows):
        found = list(made(base, rows))
        kb.forget(["hr"])
        return iter(found)

    with KnowledgeBase.open(kb.path, reader="hr") as view:
        monkeypatch.setattr(reader_indexes, "texts", slow)
        with pytest.raises(KnowledgeError):
            BM25().retrieve(view, ["pump"], 3)
        monkeypatch.undo()
    for path in kb.path.rglob("*"):
        assert not path.is_file() or b"zyxgraben" not in path.read_bytes(), path


def test_files_say_who_may_read_them(tmp_path):
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "front.md").write_text("---\ntitle: Pay\naccess: [hr, board]\n---\n\nPay is due.\n")
    (docs / "list.md").write_text("---\naccess:\n  - hr\n  - ceo\n---\n\nPay is late.\n")
    (docs / "broken.md").write_text("---\naccess: hr and board\n---\n\nPay is secret.\n")
    (docs / "rows.jsonl").write_text(
        '{"id": "r1", "text": "Pay one.", "access": "hr"}\n{"id": "r2", "text": "Pay two."}\n'
        '{"id": "r3", "text": "Pay three.", "access": ["hr", ""]}\n'
    )
    (docs / "one.json").write_text('{"title": "Note", "access": ["it"], "body": {"a": "Pay four."}}')
    (docs / "many.json").write_text('[{"access": "it", "a": "Pay."}, {"b": "Pay."}]')
    (docs / "mixed.json").write_text('[{"access": "it", "a": "Pay."}, {"access": "hr", "b": "Pay."}]')
    (docs / "quoted.md").write_text('---\n"access": hr\n---\n\nPay is gone.\n')
    (docs / "plain.txt").write_text("Pay five.")
    with KnowledgeBase.create(tmp_path / "kb", encoder=HashingEncoder()) as kb:
        summary = kb.ingest([docs])
        found = {name: kb.document(name).access for name in kb.versions()}
        assert found == {
            "docs/front.md": ("board", "hr"), "docs/list.md": ("ceo", "hr"), "r1": ("hr",), "r2": (), "docs/one.json": ("it",),
            "docs/plain.txt": (),
            "docs/many.json": ("it",),
            "docs/quoted.md": ("hr",),
        }  # fmt: skip
        assert sorted(name for name, _, reason in summary.problems if "access labels" in reason) == [
            "docs/broken.md",
            "docs/mixed.json",
            "docs/rows.jsonl",
        ]


def test_the_labels_of_an_ingest_hold_for_all_of_it_and_for_the_next(tmp_path):
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "a.txt").write_text("The pump.")
    (docs / "b.md").write_text("---\naccess: hr\n---\n\nThe mill.\n")
    (docs / "c.md").write_text("---\naccess: all\n---\n\nThe saw.\n")
    with KnowledgeBase.create(tmp_path / "kb", encoder=HashingEncoder()) as kb:

        def access():
            return {name: kb.document(name).access for name in kb.versions()}

        kb.ingest([docs])
        assert access() == {"docs/a.txt": (), "docs/b.md": ("hr",), "docs/c.md": ("all",)}
        summary = kb.ingest([docs], access="hr,board")
        assert summary.encoded == 0
        assert access() == {"docs/a.txt": ("board", "hr"), "docs/b.md": ("hr",)}
        assert any("lets others in than the ingest's" in reason for _, _, reason in summary.problems)
        (docs / "d.txt").write_text("New.")
        kb.ingest([docs])  # nobody said otherwise
        assert access()["docs/d.txt"] == ("board", "hr")
        (docs / "a.txt").write_bytes(b"%PDF-1.4 no more")
        (docs / "a.txt").rename(docs / "a.pdf")
        kb.ingest([docs], access="")
        assert access() == {"docs/b.md": ("hr",), "docs/c.md": ("all",), "docs/d.txt": ()}


def test_what_cannot_be_read_again_is_not_left_open_to_others(tmp_path, monkeypatch):
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "a.txt").write_text("The pump.")
    with KnowledgeBase.create(tmp_path / "kb", encoder=HashingEncoder()) as kb:
        kb.ingest([docs])
        (docs / "a.txt").write_bytes(b"")
        kb.ingest([docs])
        (docs / "a.txt").write_text("x" * 5000)
        from llmkit.text.loading.load_files import Limits

        summary = kb.ingest([docs], access="hr", limits=Limits(max_bytes=100))
        assert summary.failed + summary.skipped == 1
        assert kb.versions() == {}


def test_the_last_bit_of_a_cosine_does_not_depend_on_what_stands_beside(tmp_path, monkeypatch):
    """Among many forbidden rows the index scans another way than among few; scores are summed row by row."""

    def random_units(self, texts):
        seeds = [int.from_bytes(text.encode()[-6:], "big") for text in texts]
        vectors = np.stack([np.random.default_rng(seed).normal(size=self.dim).astype(np.float32) for seed in seeds])
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    monkeypatch.setattr(HashingEncoder, "encode_passages", random_units)
    monkeypatch.setattr(HashingEncoder, "encode_queries", random_units)
    found = []
    for count in (0, 3000):
        with KnowledgeBase.create(tmp_path / str(count), encoder=HashingEncoder()) as kb:
            kb.add(Document(f"x{n}", f"forbidden {n:06}", access=("x",)) for n in range(count))
            kb.add(Document(f"d{n}", f"allowed {n:06}") for n in range(25))
            with kb.as_reader("") as view:
                queries = view.encoder.encode_queries([f"query {n:06}" for n in range(30)])
                some = [*view.search_dense(queries, 20), *view.search_dense(queries[:1], 20)]
                found.append([([view.chunks([row])[0].id for row in rows], scores.tobytes()) for rows, scores in some])
                every = kb.snapshot().index.vectors(kb.live_rows())
                found.append((queries @ every.T)[:, -25:].tobytes())
    assert found[0] == found[2]
    assert found[1] != found[3]  # those of one matrix product differ: the test can fail


def test_near_ties_and_copies_are_ranked_by_row_however_many(tmp_path):
    """More equal hits than are looked at first: the lowest rows are given, with and without the forbidden."""
    with KnowledgeBase.create(tmp_path / "kb", encoder=HashingEncoder()) as kb:
        kb.add([Document(f"d{n:03}", "The same words.", access=("x",) if n % 2 else ()) for n in range(400)])
        with kb.as_reader("") as view:
            for retriever in (Dense(), BM25(), Hybrid()):
                (hits,) = retriever.retrieve(view, ["same words"], 7)
                assert [hit.chunk.document for hit in hits] == [f"d{2 * n:03}" for n in range(7)]
                assert np.ptp([hit.score for hit in hits]) == 0


def test_a_copy_of_the_folder_shows_a_reader_the_same(kb, tmp_path):
    with kb.as_reader("hr") as view:
        before = seen(view)
    kb.close()
    shutil.copytree(kb.path, tmp_path / "copy")
    with KnowledgeBase.open(tmp_path / "copy", reader="hr") as view:
        assert seen(view).replace(b"copy", b"kb") == before


@pytest.mark.slow
def test_vectors_of_a_real_encoder_do_not_depend_on_the_forbidden(tmp_path, weights_home):
    """In bfloat16 a text's vector depends on its batch; so what others may read is encoded apart."""
    from llmkit.encoders.local import LocalEncoder

    chance = random.Random(1)
    encoder = LocalEncoder()
    some = [
        Document(f"d{n}", " ".join(chance.choices(WORDS, k=chance.randint(3, 150))), access=("ceo",) if n % 2 else ())
        for n in range(60)
    ]
    some += [Document(f"copy{n}", some[n].text, access=("ceo",)) for n in range(0, 20, 2)]  # told to others too
    chance.shuffle(some)
    shown = []
    for name in ("with", "without"):
        with KnowledgeBase.create(tmp_path / name, encoder=encoder) as kb:
            for commit in (some[:50], some[50:]):
                kb.add([one for one in commit if name == "with" or not one.access])
            with kb.as_reader("") as view:
                shown.append(seen(view))
    assert shown[0] == shown[1]


def test_what_was_forbidden_when_it_went_stays_forbidden_in_the_past(tmp_path):
    """A rename, a deletion and a rollback give nobody back what they may not read."""
    with KnowledgeBase.create(tmp_path / "kb", encoder=HashingEncoder()) as kb:
        kb.add([Document("x", "The plum budget."), Document("y", "The pear budget."), Document("z", "Free.")])
        kb.add([Document("x", "The plum budget.", access=("hr",)), Document("y", "The pear budget.", access=("hr",))])
        kb.delete(["x"])
        with KnowledgeBase.open(tmp_path / "kb", as_of=1, reader="") as past:
            assert {hit.chunk.document for hit in BM25().retrieve(past, ["budget free"], 9)[0]} == {"z"}
        kb.rollback(1)
        assert kb.document("x").access == kb.document("y").access == ("hr",)
        assert kb.verify() == []
        with kb.as_reader("") as view:
            assert {hit.chunk.document for hit in BM25().retrieve(view, ["budget free"], 9)[0]} == {"z"}
        kb.add([Document("y", "The pear budget.")])  # said in so many words
        with KnowledgeBase.open(tmp_path / "kb", as_of=1, reader="") as past:
            assert {hit.chunk.document for hit in BM25().retrieve(past, ["budget free"], 9)[0]} == {"y", "z"}
