"""Fusion, maximal marginal relevance, queries that are too long, hostile queries."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit import config
from llmkit.encoders.fit_query import fit_query
from llmkit.encoders.hashing import HashingEncoder
from llmkit.errors import ConfigError, DataError
from llmkit.knowledge.knowledge_base import KnowledgeBase
from llmkit.retrieval.dense_and_bm25 import BM25, Dense
from llmkit.retrieval.fusion import ordered, reciprocal_rank, weighted
from llmkit.types import Document


def ranking(rows, scores):
    return np.array(rows, dtype=np.int64), np.array(scores, dtype=np.float32)


def test_reciprocal_rank_by_hand():
    fused = reciprocal_rank([ranking([7, 8], [9, 1]), ranking([8, 9], [5, 4])], [1, 2], constant=60)
    assert fused == pytest.approx({7: 1 / 61, 8: 1 / 62 + 2 / 61, 9: 2 / 62})
    assert [row for row, _ in ordered(fused, 2)] == [8, 9]


def test_weighted_by_hand():
    fused = weighted([ranking([1, 2, 3], [10, 5, 0]), ranking([3, 1], [-1, -3]), ranking([], [])], [1, 1, 1])
    assert fused == pytest.approx({1: 1.0, 2: 0.5, 3: 1.0})
    assert ordered(fused, 3) == [(1, 1.0), (3, 1.0), (2, 0.5)]
    assert weighted([ranking([4, 5], [2, 2])], [0.5]) == {4: 0.5, 5: 0.5}


rankings = st.lists(st.integers(0, 30), unique=True, max_size=12).map(
    lambda rows: ranking(rows, sorted(np.linspace(0, 1, len(rows)), reverse=True))
)


@given(st.lists(rankings, min_size=1, max_size=4))
def test_fusion_holds_every_row_once_and_an_agreed_first_stays_first(parts):
    for fused in (reciprocal_rank(parts, [1] * len(parts)), weighted(parts, [1] * len(parts))):
        assert set(fused) == {row for rows, _ in parts for row in rows.tolist()}
        assert [row for row, _ in ordered(fused, 99)] == [row for row, _ in ordered(dict(reversed(fused.items())), 99)]
    firsts = {rows[0] for rows, _ in parts if len(rows)}
    if len(firsts) == 1 and all(len(rows) for rows, _ in parts):
        assert ordered(reciprocal_rank(parts, [1] * len(parts)), 1)[0][0] == firsts.pop()


@pytest.fixture
def kb(tmp_path):
    with KnowledgeBase.create(tmp_path / "kb", encoder=HashingEncoder(max_tokens=16)) as kb:
        kb.add([Document(f"same{i}", "red apple pie recipe", metadata={"n": i}) for i in range(5)])
        kb.add([Document("other", "red plum pie"), Document("ja", "りんごの木は庭にあります。")])
        yield kb


def test_marginal_relevance_prefers_what_is_different(kb):
    plain = Dense().retrieve(kb, ["red apple pie recipe"], 3)[0]
    assert {hit.chunk.text for hit in plain} == {"red apple pie recipe"}
    mmr = config.build_part("retriever", {"type": "mmr", "of": "dense", "trade_off": 0.3})
    picked = mmr.retrieve(kb, ["red apple pie recipe"], 3)[0]
    assert picked[0].chunk.text == "red apple pie recipe"
    assert picked[1].chunk.text != "red apple pie recipe"


def test_a_long_query_is_cut_at_the_limit_and_counted(kb):
    text = "red apple " * 20
    kept, cut = fit_query(kb.encoder, text)
    assert (len(kb.encoder.token_starts(kept)), cut) == (16, 24)
    assert fit_query(kb.encoder, "red apple") == ("red apple", 0)
    assert Dense().retrieve(kb, [text], 1)[0][0].chunk.text.startswith("red")


def test_the_step_says_that_the_query_was_cut(kb):
    from llmkit.pipeline import Pipeline

    events = []
    state = Pipeline(name="x", steps=["retrieve"]).with_knowledge(kb).run("red apple " * 20, on_event=events.append)
    assert any("longer than the encoder's input" in event.text for event in events if event.kind == "note")
    assert state.records[0].detail["notes"]


@pytest.mark.parametrize("query", ['"', "AND OR NOT", "body:red^9 (", "*", "a" * 5000, "[1 TO 2]", "\x00", "red\\"])
def test_a_query_is_only_words(kb, query):
    for retriever in (Dense(), BM25()):
        retriever.retrieve(kb, [query], 3)


def test_an_empty_query_is_refused(kb):
    for retriever in (Dense(), BM25(), config.build_part("retriever", "hybrid")):
        with pytest.raises(DataError, match="query 1 is empty"):
            retriever.retrieve(kb, ["red", "  "], 3)


def test_japanese_is_found_by_parts_of_words(kb):
    ((hit, *_),) = BM25().retrieve(kb, ["庭にある木"], 1)
    assert hit.chunk.document == "ja"


def test_hits_keep_what_each_part_gave(kb):
    hybrid = config.build_part("retriever", {"type": "hybrid", "fusion": "rrf"})
    (hit, *_) = hybrid.retrieve(kb, ["red plum"], 3)[0]
    assert hit.chunk.document == "other"
    assert set(hit.scores) == {"dense", "bm25"}


def test_weights_must_fit_the_parts():
    with pytest.raises(ConfigError, match="2 parts need 2 weights"):
        config.build_part("retriever", {"type": "hybrid", "weights": [1.0]})
