"""What becomes of a text before BM25 sees it, by language."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.encoders.hashing import HashingEncoder
from llmkit.errors import ConfigError
from llmkit.knowledge.analyzers import KNOWN, guess, prepared, word_analyzer
from llmkit.knowledge.knowledge_base import KnowledgeBase
from llmkit.knowledge.local.lexical.index import LexicalIndex
from llmkit.pipeline import Pipeline
from llmkit.retrieval.dense_and_bm25 import BM25
from llmkit.retrieval.hybrid import Hybrid
from llmkit.retrieval.vocabulary_coverage import dense_weight, lost_share
from llmkit.types import Document

GERMAN = "Die Häuser stehen an der Straße und die Katzen schlafen auf den Dächern, weil es nicht regnet."
SPANISH = "Las casas están en la calle y los gatos duermen sobre los tejados porque no llueve en la ciudad."
JAPANESE = "手塚治虫は日本の漫画家であり、鉄腕アトムの作者である。"


def terms(text, code="en"):
    return word_analyzer(code).analyze(prepared(text, code))


@pytest.mark.parametrize(
    ("one", "other", "code"),
    [
        ("Ｐｕｍｐ１２３", "pump123", "en"),
        ("cafe\u0301", "café", "en"),
        ("café", "cafe", "fr"),
        ("İstanbul", "istanbul", "en"),
        ("ISPARTA", "ısparta", "tr"),
        ("Häuser", "Haus", "de"),
        ("casas", "casa", "es"),
        ("ﬁsh", "fish", "en"),
        ("ｱﾄﾑ", "アトム", "ja"),
    ],
)
def test_two_writings_of_a_word_are_one_term(one, other, code):
    assert terms(one, code) == terms(other, code)


def test_identifiers_count_whole_and_in_parts():
    assert terms("parseHttpHeader") == ["parsehttphead", "pars", "http", "header"]
    assert terms("read_csv_file") == ["read", "csv", "file", "read", "csv", "file"]
    assert terms("HTTPServer x plain Words") == ["httpserver", "x", "plain", "word"]


@pytest.mark.parametrize("text", ["a" * 1_000_000, "A" * 1_000_000, "_" * 1_000_000, "漢" * 1_000_000])
def test_a_text_without_a_space_takes_linear_time(text):
    begun = time.monotonic()
    prepared(text)
    assert guess([text]).code in ("en", "zh")  # not Dutch for its "aa"
    assert time.monotonic() - begun < 20


def test_ideographs_count_alone_and_in_pairs():
    assert terms("鉄腕アトム", "ja") == ["鉄腕", "腕ア", "アト", "トム", "鉄", "腕"]
    assert terms("犬", "ja") == ["犬"]


@given(st.text(max_size=200), st.sampled_from([*KNOWN, "en"]))
def test_any_text_in_any_language_has_terms_without_error(text, code):
    assert all(terms(text, code))


def test_texts_tell_their_language():
    assert [guess([text]).code for text in (GERMAN, SPANISH, JAPANESE, "The cat is on the mat.", "x = 1", "")] == [
        "de", "es", "ja", "en", "en", "en",
    ]  # fmt: skip
    mixed = guess([GERMAN, SPANISH, JAPANESE * 3])
    assert mixed.code == "en"
    assert "several languages" in mixed.note
    assert guess(["The cat is on the mat."]).note == ""


def make(tmp_path, **settings):
    return KnowledgeBase.create(tmp_path / "kb", encoder=HashingEncoder(), **settings)


def found(kb, query):
    return [hit.chunk.document for hit in BM25().retrieve(kb, [query], 5)[0]]


def test_auto_decides_at_the_first_commit_tells_and_stays(tmp_path):
    with make(tmp_path) as kb:
        assert kb.language == "en"
        kb.add([Document("a", GERMAN)])
        assert kb.language == "de"
        assert "look like language 'de'" in kb.take_notes()[0]
        assert found(kb, "Haus") == ["a"]
        kb.add([Document(str(n), SPANISH + str(n)) for n in range(5)])
        assert kb.language == "de"
    with KnowledgeBase.open(tmp_path / "kb") as kb:
        assert kb.language == "de"
        assert found(kb, "Haus") == ["a"]
        assert kb.verify() == []
    with KnowledgeBase.open(tmp_path / "kb", as_of=1) as past:
        assert found(past, "Haus") == ["a"]


def test_a_language_that_is_given_is_kept(tmp_path):
    with make(tmp_path, language="es") as kb:
        kb.add([Document("a", GERMAN), Document("b", SPANISH)])
        assert kb.language == "es"
        assert kb.take_notes() == []
        assert found(kb, "gato") == ["b"]


def test_a_crash_after_the_first_commit_finds_the_language_again(tmp_path):
    with make(tmp_path) as kb:
        kb.add([Document("a", GERMAN)])
    (tmp_path / "kb" / "lexical" / "generation").unlink()
    with KnowledgeBase.open(tmp_path / "kb") as kb:
        assert found(kb, "Haus") == ["a"]


def test_an_unknown_language_is_refused_before_anything_is_made(tmp_path):
    with pytest.raises(ConfigError, match="language 'xx'"):
        make(tmp_path, language="xx")
    assert not (tmp_path / "kb").exists()


def test_an_index_of_another_language_has_other_terms():
    german, english = LexicalIndex(None, "de"), LexicalIndex(None)
    for index in (german, english):
        index.update(1, (), [(1, "Die Häuser")])
    assert len(german.search(["Haus"], 5)[0][0]) == 1
    assert len(english.search(["Haus"], 5)[0][0]) == 0


class English(HashingEncoder):
    """Reads ASCII only."""

    def unknown_share(self, text):
        return sum(not char.isascii() for char in text) / len(text)


@pytest.mark.parametrize(
    ("question", "lost", "weight"),
    [
        ("Where is the cat?", 0.0, 1.0),
        ("漫画家は誰?", 1.0, 0.0),
        ("Who is 手塚?", 3 / 8, 0.0),
        ("What does the ∂ sign mean in physics?", 1 / 30, 1.0),
        ("What ∂∂∂∂ is", 4 / 10, 0.0),
        ("a words four ∂∂", 2 / 12, 2 / 3),
    ],
)
def test_the_weight_of_dense_search_falls_with_what_it_cannot_read(question, lost, weight):
    assert lost_share(English(), question) == pytest.approx(lost, abs=0.005)
    assert dense_weight(English(), question) == pytest.approx(weight)


@pytest.mark.parametrize("fusion", ["weighted", "rrf"])
def test_hybrid_is_bm25_where_the_encoder_is_blind(tmp_path, fusion):
    with KnowledgeBase.create(tmp_path / "kb", encoder=English()) as kb:
        kb.add(
            [
                Document(f"d{n}", text)
                for n, text in enumerate([JAPANESE, "東京は日本の首都である。", "The cat sleeps."])
            ]
        )

        def order(retriever, query):
            return [hit.chunk.document for hit in retriever.retrieve(kb, [query], 5)[0]]

        hybrid = Hybrid(fusion=fusion)
        assert order(hybrid, "漫画家は誰?") == order(BM25(), "漫画家は誰?")
        assert len(order(hybrid, "cat")) == 3, "dense search adds what BM25 does not find"
        assert len(order(hybrid, "誰誰誰")) == 3, "where words find nothing, dense search is all there is"
        scores = hybrid.retrieve(kb, ["漫画家は誰?"], 5)[0][0].scores
        assert set(scores) == {"dense", "bm25"}, "what it gave is still recorded"
        steps = [{"type": "retrieve", "retriever": {"type": "hybrid", "fusion": fusion}}]
        note = Pipeline(name="t", steps=steps).with_knowledge(kb).run("漫画家は誰?").records[0].detail["notes"][0]
        assert "counts 0% of its usual weight" in note
