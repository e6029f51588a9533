"""What any vector index must do. Inherit it and give the fixture ``make``: dim → an empty index."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from llmkit.protocols import VectorIndex

Make = Callable[[int], VectorIndex]


def unit(rows: int, dim: int, seed: int = 0) -> NDArray[np.float32]:
    """Random unit vectors, (rows, dim)."""
    vectors = np.random.default_rng(seed).normal(size=(rows, dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


class VectorIndexSuite:
    """Conformance to :class:`llmkit.protocols.VectorIndex`, checked against brute force."""

    recall = 1.0
    """Least share of the true neighbours; 1 for an exact index."""

    def test_neighbours_are_those_of_brute_force(self, make: Make) -> None:
        """For one query and for many, with and without a filter of any size."""
        vectors, queries = unit(700, 24), unit(40, 24, seed=1)
        ids = np.arange(700, dtype=np.int64) * 3 + 5
        index = make(24)
        index.add(ids[:300], vectors[:300])
        index.add(ids[300:], vectors[300:])
        rng = np.random.default_rng(2)
        for allowed in (None, ids, ids[:1], *(np.sort(rng.choice(ids, n, replace=False)) for n in (5, 50, 350))):
            for some in (queries[:1], queries):
                scores, found = index.search(some, 10, allowed)
                assert scores.shape == found.shape == (len(some), 10)
                permitted = ids if allowed is None else allowed
                similar = some @ vectors[np.searchsorted(ids, permitted)].T
                order = np.argsort(-similar, axis=1)[:, :10]
                true = permitted[order]
                kept = min(10, len(permitted))
                hits = [len(set(f[:kept]) & set(t)) for f, t in zip(found.tolist(), true.tolist(), strict=True)]
                assert sum(hits) >= self.recall * kept * len(some)
                assert (found[:, kept:] == -1).all()
                assert (np.diff(scores[:, :kept], axis=1) <= 1e-6).all()

    def test_removed_rows_are_never_found(self, make: Make) -> None:
        """Whatever their number, for one query and for many; removing what is not there is no error."""
        vectors = unit(400, 8)
        index = make(8)
        index.add(np.arange(300, dtype=np.int64), vectors[:300])
        index.add(np.arange(300, 400, dtype=np.int64), vectors[300:])
        index.remove(np.arange(0, 400, 2, dtype=np.int64))
        index.remove(np.array([1000, -5, 0], dtype=np.int64))
        for queries in (vectors[:1], vectors):
            _, found = index.search(queries, 250)
            assert set(found[found >= 0].tolist()) <= set(range(1, 400, 2))
            assert (found >= 0).sum(axis=1).tolist() == [200] * len(queries)
        index.remove(np.arange(400, dtype=np.int64))
        assert (index.search(vectors[:2], 3)[1] == -1).all()

    def test_an_exact_answer_depends_on_nothing_it_does_not_name(self, make: Make) -> None:
        """With `exact`, scores and order are the same to the last bit whatever other rows are stored."""
        vectors, queries = unit(700, 24, seed=5), unit(9, 24, seed=6)
        mine = np.sort(np.random.default_rng(7).choice(700, 90, replace=False)).astype(np.int64)
        large, small = make(24), make(24)
        large.add(np.arange(600, dtype=np.int64), vectors[:600])
        large.add(np.arange(600, 700, dtype=np.int64), vectors[600:])
        small.add(mine, vectors[mine])
        for k in (1, 10, 100):
            got, want = large.search(queries, k, mine, exact=True), small.search(queries, k, mine, exact=True)
            assert got[0].tobytes() == want[0].tobytes()
            assert got[1].tobytes() == want[1].tobytes()
        _, everything = large.search(queries, 10, exact=True)
        assert everything.tolist() == np.argsort(-(queries @ vectors.T), axis=1, kind="stable")[:, :10].tolist()

    def test_rows_that_hardly_differ_are_still_ranked(self, make: Make) -> None:
        """Scores are those of brute force to single precision, among hundreds of near ties."""
        vectors = unit(1, 24) + 1e-4 * np.random.default_rng(3).normal(size=(800, 24)).astype(np.float32)
        vectors = np.concatenate([vectors / np.linalg.norm(vectors, axis=1, keepdims=True), unit(200, 24, seed=4)])
        index = make(24)
        index.add(np.arange(1000, dtype=np.int64), vectors)
        scores, _ = index.search(vectors[:25], 10)
        true = -np.sort(-(vectors[:25] @ vectors.T), axis=1)[:, :10]
        if self.recall == 1.0:
            np.testing.assert_allclose(scores, true, atol=1e-6)

    def test_an_empty_index_and_an_empty_filter_find_nothing(self, make: Make) -> None:
        """Id -1 everywhere, no error."""
        index = make(8)
        _, found = index.search(unit(2, 8), 3)
        assert (found == -1).all()
        index.add(np.array([1], dtype=np.int64), unit(1, 8))
        _, found = index.search(unit(2, 8), 3, np.empty(0, dtype=np.int64))
        assert (found == -1).all()
        assert index.search(unit(1, 8)[:0], 3)[1].shape == (0, 3)
