"""Filters at every selectivity: the k best of the rows that pass, as brute force finds them, for words and vectors."""

from __future__ import annotations

import numpy as np
import pytest

from llmkit.encoders.hashing import HashingEncoder
from llmkit.knowledge.filters.where import parse
from llmkit.knowledge.knowledge_base import KnowledgeBase
from llmkit.knowledge.local.lexical.index import LexicalIndex
from llmkit.retrieval.dense_and_bm25 import BM25, Dense, encoded
from llmkit.retrieval.fusion import ordered, weighted
from llmkit.retrieval.hybrid import Hybrid
from llmkit.types import Document

ROWS = 20_000
K = 10
QUERIES = ["w3 w17 w250", "w1 w2", "w900 w901 w5", "w0"]


def texts(count, words=1000):
    """Short texts of words with Zipf's frequencies."""
    rng = np.random.default_rng(7)
    share = 1 / np.arange(1, words + 1)
    drawn = rng.choice(words, size=(count, 12), p=share / share.sum())
    return [" ".join(f"w{word}" for word in row) for row in drawn]


@pytest.fixture(scope="module")
def kb(tmp_path_factory):
    rng = np.random.default_rng(8)
    permille = rng.permutation(ROWS) * 1000 // ROWS
    labels = {0: ("board",), 1: ("hr", "board")}
    with KnowledgeBase.create(tmp_path_factory.mktemp("kb") / "kb", encoder=HashingEncoder()) as kb:
        kb.add(
            Document(
                f"d{n}", text, metadata={"p": int(p), "path": f"notes/{p:03}"}, access=labels.get(int(p) // 10, ())
            )
            for n, (text, p) in enumerate(zip(texts(ROWS), permille, strict=True))
        )
        yield kb


@pytest.mark.parametrize(
    ("where", "share"),
    [
        ("p == 500", 0.001),
        ("path prefix 'notes/50'", 0.01),
        ("access == hr", 0.01),
        ("p >= 500", 0.5),
        ("p < 500 or p in [600, 601] and not exists access", 0.502),
        ("p == 5000", 0.0),
    ],
)
def test_filtered_search_equals_brute_force(kb, where, share):
    wanted = parse(where)
    rows = kb.live_rows(wanted)
    assert len(rows) == pytest.approx(share * ROWS, abs=1)
    vectors, queries = kb.vectors(rows), encoded(kb, QUERIES)
    everything = kb.search_bm25(QUERIES, ROWS)
    near, words = [], []
    for query, (found, scores) in zip(queries, everything, strict=True):
        similar = vectors @ query
        order = np.argsort(-similar, kind="stable")
        near.append((rows[order], similar[order]))
        keep = np.isin(found, rows)
        words.append((found[keep], scores[keep]))
    for retriever, true in ((Dense(), near), (BM25(), words)):
        for (found, scores), (best, values) in zip(retriever.rank(kb, QUERIES, K, wanted), true, strict=True):
            assert len(found) == min(K, len(best))
            np.testing.assert_allclose(scores, values[:K], rtol=1e-5, atol=1e-6)
            clear = np.flatnonzero(np.abs(np.diff(values[: K + 1])) > 1e-5)  # where no tie lets two orders be right
            for end in clear[clear < len(found)]:
                assert set(found[: end + 1]) == set(best[: end + 1])
    depth = Hybrid().depth
    for hits, dense, bm25 in zip(Hybrid().retrieve(kb, QUERIES, K, wanted), near, words, strict=True):
        parts = [(dense[0][:depth], dense[1][:depth]), (bm25[0][:depth], bm25[1][:depth])]
        true = [score for _, score in ordered(weighted(parts, (0.7, 0.3)), K)]
        np.testing.assert_allclose([hit.score for hit in hits], true, atol=1e-4)


@pytest.fixture(scope="module")
def words():
    index = LexicalIndex(None)
    index.update(1, (), enumerate(texts(60_000, 300)))
    return index


@pytest.mark.parametrize("allowed", [55_000, 30_000, 2_001, 2_000, 700, 60, 1])
@pytest.mark.parametrize("k", [1, 10, 500])
def test_bm25_gives_the_best_of_any_number_of_allowed_rows(words, allowed, k):
    rows = np.sort(np.random.default_rng(allowed).choice(60_000, allowed, replace=False)).astype(np.int64)
    for query in QUERIES:
        ((every, values),) = words.search([query], 60_000)
        keep = np.isin(every, rows)
        ((found, scores),) = words.search([query], k, rows)
        assert len(found) == min(k, keep.sum())
        np.testing.assert_allclose(scores, values[keep][:k], rtol=1e-6)
        assert (np.isin(found, rows)).all()


def test_bm25_finds_the_few_that_pass_among_the_last(words):
    """Rows that match worst of all: every slice before them holds none that is allowed."""
    ((every, values),) = words.search(["w0 w1"], 60_000)
    rows = np.sort(every[-2_500:])
    ((found, scores),) = words.search(["w0 w1"], 5, rows)
    np.testing.assert_allclose(scores, values[-2_500:][:5], rtol=1e-6)
    assert set(found) <= set(rows)


def test_equal_scores_are_in_the_order_of_rows():
    index = LexicalIndex(None)
    index.update(1, (), ((n, "same words") for n in range(0, 500, 2)))
    index.update(2, (), ((n, "same words") for n in range(1, 500, 2)))
    ((found, scores),) = index.search(["same"], 9)
    assert found.tolist() == list(range(9))
    assert np.ptp(scores) == 0
