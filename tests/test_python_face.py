"""The first lines of a Python user: each works, or is refused with what to write instead."""

from __future__ import annotations

import subprocess
import sys
from datetime import date, datetime

import pytest

from llmkit import (
    Answer,
    Document,
    Hit,
    Hits,
    KnowledgeBase,
    evaluate,
    load_chat,
    load_experiment,
    load_pipeline,
    load_task,
)  # fmt: skip
from llmkit.encoders import HashingEncoder
from llmkit.errors import ConfigError, DataError, KnowledgeError
from llmkit.retrieval import BM25, Dense, Hybrid

TEXTS = {
    "pump": "The pump is red. It is serviced in May.",
    "valve": "The valve is blue. It is serviced in June.",
    "warranty": "The warranty excludes damage by water.",
}


@pytest.fixture
def kb(tmp_path):
    with KnowledgeBase.create(tmp_path / "kb", encoder="hashing") as made:
        made.add([Document(name, text, metadata={"year": 2020 + n}) for n, (name, text) in enumerate(TEXTS.items())])
        yield made


def test_words_of_yaml_are_taken_when_a_knowledge_base_is_made(tmp_path):
    made = KnowledgeBase.create(
        tmp_path / "a", encoder="hashing", language="de", splitter={"max_tokens": 64}, vectors={"recall": 0.9}
    )
    assert made.identity == HashingEncoder().identity
    assert (made.language, made.splitter.max_tokens) == ("de", 64)
    for spec in ({"type": "hashing", "dim": 64}, "{type: hashing, dim: 64}", HashingEncoder(dim=64)):
        assert KnowledgeBase.create(tmp_path / str(type(spec)), encoder=spec).dim == 64
    assert KnowledgeBase.create(tmp_path / "flat", encoder="hashing", vectors="flat")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"encoder": "hashin"}, "unknown encoder 'hashin'; did you mean 'hashing'"),
        ({"encoder": "intfloat/e5-small"}, "sentence-transformer"),
        ({"encoder": 3}, "encoder is int: write a word"),
        ({"encoder": HashingEncoder}, "encoder is ModelMetaclass"),
        ({"encoder": "hashing", "splitter": {"max_token": 64}}, "unknown key 'max_token'; did you mean 'max_tokens'"),
        ({"encoder": "hashing", "vectors": "fast"}, "flat, ivf, hnsw"),
        ({"encoder": "hashing", "language": "german"}, "german"),
        ({"encoder": "hashing", "near_duplicates": 2}, "near_duplicates"),
    ],
)
def test_a_wrong_setting_is_named_and_nothing_is_made(tmp_path, settings, message):
    with pytest.raises(ConfigError, match=message):
        KnowledgeBase.create(tmp_path / "kb", **settings)
    assert not (tmp_path / "kb").exists()


def test_open_or_create_makes_opens_and_refuses_other_settings(tmp_path):
    path = tmp_path / "kb"
    with KnowledgeBase.open_or_create(path, encoder="hashing") as made:
        made.add({"id": "a", "text": "One."})
    with KnowledgeBase.open_or_create(str(path)) as opened:
        assert len(opened) == 1
    with KnowledgeBase.open_or_create(path, encoder="hashing", splitter={}, vectors={}) as opened:
        assert len(opened) == 1
    for other in ({"encoder": {"type": "hashing", "dim": 64}}, {"splitter": {"max_tokens": 32}}, {"language": "de"},
                  {"near_duplicates": 0.9}, {"vectors": "hnsw"}):  # fmt: skip
        with pytest.raises(ConfigError, match=f"was made with {next(iter(other))} .*, not "):
            KnowledgeBase.open_or_create(path, **other)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    with pytest.raises(KnowledgeError, match="is not empty"):
        KnowledgeBase.open_or_create(tmp_path / "other", encoder="hashing")


def test_one_question_gives_hits_and_many_give_a_list_each(kb):
    hits = kb.search("red pump", k=2)
    assert isinstance(hits, Hits)
    assert isinstance(hits[0], Hit)
    assert (hits[0].document, hits[0].text, hits[0].page) == ("pump", TEXTS["pump"], None)
    assert hits[0].score >= hits[-1].score
    assert kb.search(["red pump", "warranty"], k=2) == [hits, kb.search("warranty", k=2)]
    assert kb.search([], k=2) == []


@pytest.mark.parametrize("mode", ["hybrid", "dense", "bm25", {"type": "hybrid", "depth": 5}, "{type: bm25}", BM25()])
def test_every_form_of_a_mode_and_of_a_filter(kb, mode):
    assert kb.search("serviced", mode=mode, where="year >= 2021 and year < 2022")[0].document == "valve"
    found = kb.search("serviced", mode=mode, where={"year": 2020})
    assert [hit.document for hit in found] == ["pump"]


@pytest.mark.parametrize("retriever", [BM25(), Dense(), Hybrid(), Hybrid(fusion="rrf")])
def test_retrievers_take_filters_as_text_and_no_lone_string(kb, retriever):
    assert retriever.retrieve(kb, ["serviced"], 3, where="year == 2020")[0][0].document == "pump"
    with pytest.raises(DataError, match=r"queries takes a list, and 'pump' is one item: write queries=\['pump'\]"):
        retriever.retrieve(kb, "pump", 3)
    with pytest.raises(DataError, match=r"queries\[1\] is int"):
        retriever.retrieve(kb, ["pump", 3], 3)
    with pytest.raises(ConfigError, match="filter"):
        retriever.retrieve(kb, ["pump"], 3, where="year >>= 2")


def test_a_wrong_search_says_what_to_write(kb):
    with pytest.raises(ConfigError, match="unknown retriever type 'hybird'; did you mean 'hybrid'"):
        kb.search("pump", mode="hybird")
    with pytest.raises(ConfigError, match="mode is int"):
        kb.search("pump", mode=3)
    with pytest.raises(DataError, match="is empty"):
        kb.search(" ")
    with pytest.raises(DataError, match="k is 0"):
        kb.search("pump", k=0)
    with pytest.raises(DataError, match="query"):
        kb.search(None)


def test_documents_one_or_many_and_mappings(kb):
    assert kb.add(Document("b", "Text of b.")).documents == 1
    assert kb.add({"id": "c", "text": "Text of c.", "metadata": {"year": 2025}, "access": "hr"}).documents == 1
    assert kb.add({"id": f"d{n}", "text": f"Text {n}."} for n in range(3)).documents == 3
    assert kb.document("c").access == ("hr",)
    assert len(kb) == 8


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("text", r"needs an id .*: write kb.add\(\{"),
        (["text"], r"documents\[0\] is a text without an id .* write kb.add"),
        ([{"id": "a", "txt": "x"}], "unknown key 'txt'; did you mean 'text'"),
        ({"id": "a", "text": "x", "year": 2024}, "belong into 'metadata'"),
        ({"text": "x"}, "needs 'id'"),
        ({"id": 1, "text": "x"}, "needs 'id', a string"),
        ([3], "is int, not a document"),
        (3, "int is not a document"),
    ],
)
def test_what_is_no_document_is_refused_with_what_to_write(kb, given, message):
    before = kb.generation
    with pytest.raises(DataError, match=message):
        kb.add(given)
    assert (len(kb), kb.generation) == (3, before)


def test_delete_and_forget_take_one_id_or_many(kb):
    assert kb.delete("pump") == 1
    assert len(kb) == 2
    assert kb.delete(["valve", "nothing"]) == 1
    assert kb.forget("warranty").documents == 1
    assert len(kb) == 0
    assert kb  # a knowledge base that is empty is one all the same


def test_files_come_in_by_string_path_or_list(kb, tmp_path, capsys):
    folder = tmp_path / "papers"
    folder.mkdir()
    (folder / "a.txt").write_text("A text about bearings.")
    (folder / "b.txt").write_text("A text about gears.")
    assert kb.ingest(str(folder)).documents == 2
    assert kb.ingest(folder).unchanged == 2
    assert kb.ingest([folder / "a.txt", str(folder / "b.txt")], progress=True).files == 2
    assert "2/2 files" in capsys.readouterr().err
    with pytest.raises(DataError, match="roots"):
        kb.ingest(3)


def test_history_from_python(kb):
    before = kb.generation
    kb.add({"id": "new", "text": "A new document."})
    assert kb.diff(before, kb.generation).added == ("new",)
    assert kb.rollback(before).removed == ("new",)
    assert [entry.id for entry in kb.log()][-1] == kb.generation
    assert kb.status().documents == len(kb) == 3
    assert "3 documents" in repr(kb)
    assert "hashing" in repr(kb)


def test_ask_answers_with_citations_and_abstains(kb):
    answer = kb.ask("What does the warranty exclude?", overrides=["steps.extract.threshold=0"])
    assert isinstance(answer, Answer)
    assert answer.citations[0].document == "warranty"
    assert kb.ask("Who won the football world cup in 1998?", where="year == 2020").abstained
    same = load_pipeline("docs-qa", ["steps.extract.threshold=0"])
    assert kb.ask("What does the warranty exclude?", pipeline=same) == answer
    with pytest.raises(DataError, match="one question"):
        kb.ask(["a", "b"])
    with pytest.raises(ConfigError, match="docs-q"):
        kb.ask("What?", pipeline="docs-q")


def test_hits_and_answers_read_well_in_a_terminal_and_a_notebook(kb):
    kb.add(Document("<b>", "A text about <script> tags."))
    hits = kb.search("script tags", k=1)
    assert str(hits).startswith("1. ")
    assert "<b>: A text about <script> tags." in str(hits)
    assert str(Hits()) == "no hits"
    html = hits._repr_html_()
    assert "&lt;script&gt;" in html
    assert "<script>" not in html
    answer = kb.ask("Which tags is the text about?", overrides=["steps.extract.threshold=0"])
    assert "<script>" not in answer._repr_html_()
    assert str(answer).count("[1]") == 2


def test_summaries_show_as_tables_in_a_notebook(kb, tmp_path):
    (tmp_path / "<i>.pdf").write_bytes(b"%PDF-1.7 and nothing more")
    summary = kb.ingest(tmp_path / "<i>.pdf")
    assert "&lt;i&gt;.pdf" in summary._repr_html_()
    assert "<i>" not in summary._repr_html_()
    assert "<td>documents</td>" in kb.status()._repr_html_()


def test_retrievers_import_under_the_word_that_yaml_has_for_them():
    from llmkit.retrievers import BM25

    assert BM25.type == "bm25"


def test_names_of_an_earlier_release_still_load_and_say_so():
    code = "from llmkit.knowledge.retrievers import BM25; from llmkit.knowledge import BM25 as B; assert B is BM25"
    done = subprocess.run([sys.executable, "-W", "always", "-c", code], capture_output=True, text=True, check=True)
    assert "write `from llmkit.retrieval import BM25`" in done.stderr


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (
            lambda: Document("a", "text", {"year": 2024}),
            "the title of a document is a string, not dict: write metadata=",
        ),
        (lambda: Document("a", None), "the text of a document is a string, not NoneType"),
        (lambda: Document("a", "x", metadata=["tag"]), "the metadata of a document is a mapping, not list"),
        (lambda: Document("", "text"), "has an empty id"),
        (lambda: Document("a", "x", metadata={"tags": {"a"}}), r"\(a\): metadata 'tags' cannot be kept as JSON"),
        (lambda: Document("a", "x", metadata={"x": float("nan")}), r"\(a\): metadata 'x' cannot be kept as JSON"),
        (lambda: Document("a", "x", metadata={1: 2}), r"\(a\): metadata 1 cannot be kept as JSON"),
    ],
)
def test_a_document_that_cannot_be_kept_is_named(kb, document, message):
    with pytest.raises(DataError, match=message):
        kb.add(document())
    assert len(kb) == 3


def test_dates_in_metadata_are_kept_as_iso_text(kb):
    kb.add(Document("d", "A dated text.", metadata={"date": date(2024, 5, 1), "at": datetime(2024, 5, 1, 12, 30)}))
    hit = kb.search("dated", where="date >= 2024-04 and date < 2024-06")[0]
    assert hit.metadata == {"date": "2024-05-01", "at": "2024-05-01T12:30:00"}


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda kb: load_chat("gpt-5-mini"), ConfigError, "a model is PROVIDER:NAME"),
        (lambda kb: load_chat({"model": "openai:x", "temprature": 1}), ConfigError, "did you mean 'temperature'"),
        (lambda kb: kb.search("pump", where="year = 2024"), ConfigError, "column 6: cannot read '= 2024'; write =="),
        (lambda kb: kb.search("pump", where="a == 1 && b == 2"), ConfigError, "write and"),
        (lambda kb: kb.search("pump", k="5"), DataError, "k is '5'.*whole number"),
        (lambda kb: kb.search("pump", k=5.0), DataError, "k is 5.0"),
        (lambda kb: BM25().retrieve(["pump"], kb, 3), DataError, "queries takes a list, not KnowledgeBase"),
        (lambda kb: kb.delete([3]), DataError, r"ids\[0\] is int"),
        (lambda kb: kb.forget("nothing"), KnowledgeError, "'nothing' in any generation"),
        (lambda kb: kb.ingest("/no/papers/*.pdf"), DataError, "patterns are not expanded: give the folder"),
        (lambda kb: load_pipeline("docs-qa", knowledge=kb).run(["a"]), DataError, "run takes one question, batch"),
        (lambda kb: kb.ask("Pump?", history=[{"role": "user"}]), DataError, r"history contains dict: write Message\("),
        (lambda kb: kb.ask("Pump?", pipeline="search"), ConfigError, "has no step that answers: kb.search"),
        (lambda kb: load_task("doc"), ConfigError, "did you mean 'docs'"),
        (lambda kb: load_experiment("docs-retrival"), ConfigError, "did you mean 'docs-retrieval'"),
        (lambda kb: evaluate("docs-qa"), ConfigError, r"write evaluate\('docs-qa', 'docs'\)"),
        (lambda kb: kb.document("nothing"), KnowledgeError, "no document 'nothing'"),
        (lambda kb: KnowledgeBase.open(kb.path / "no"), KnowledgeError, "or KnowledgeBase.create in Python"),
        (lambda kb: KnowledgeBase.open(kb.path, as_of="31.01.2026"), KnowledgeError, "write 12, 2026-03-01"),
        (lambda kb: KnowledgeBase.open(kb.path, as_of=1).add({"id": "a", "text": "b"}), KnowledgeError, "for reading"),
        (lambda kb: kb.as_reader("hr").add({"id": "a", "text": "b"}), KnowledgeError, "only its owner"),
    ],
)
def test_a_newcomers_mistake_is_a_message_that_says_what_to_write(kb, call, error, message):
    with pytest.raises(error, match=message):
        call(kb)
