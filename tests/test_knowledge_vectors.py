"""The vector index: what it holds in memory, how it is chosen, that it searches what the catalogue says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.encoders.hashing import HashingEncoder
from llmkit.errors import KnowledgeError
from llmkit.knowledge.knowledge_base import KnowledgeBase
from llmkit.knowledge.local.ann import faiss_build
from llmkit.knowledge.local.ann.ann_index import CodedIndex
from llmkit.knowledge.local.ann.autotune import Questions, choose
from llmkit.knowledge.local.vectors import index_file
from llmkit.knowledge.local.vectors.bitmap import Bitmap
from llmkit.knowledge.local.vectors.flat_index import FlatIndex, half_precision
from llmkit.knowledge.local.vectors.id_ranges import Runs
from llmkit.knowledge.local.vectors.row_store import StoredRows
from llmkit.knowledge.local.vectors.vector_set import VectorSet
from llmkit.knowledge.recall_bound import Certificate, lower_bound
from llmkit.knowledge.vector_settings import VectorSettings
from llmkit.retrieval.dense_and_bm25 import Dense
from llmkit.testing.vector_index_suite import VectorIndexSuite, unit
from llmkit.types import Document


class Sealed:
    """What is added first goes into an index file, memory-mapped; what comes later is its tail."""

    def __init__(self, folder, dim, structure, names):
        self.folder, self.dim, self.structure, self.codes = folder, dim, structure, names
        self.inner = None

    def add(self, ids, vectors):
        if self.inner is not None:
            self.inner = self.inner.appended(ids, vectors)
            return
        rows = StoredRows(self.dim)
        rows.append(ids, vectors)
        certificate = Certificate(self.structure, self.codes, 0, 1, 1, 0, "", 1, depth=150, probes=150)
        if self.structure == "flat" or len(ids) < 256:
            index, certificate = (
                faiss_build.scan(rows, half_precision),
                Certificate("flat", "float16", 0, 1, 1, 0, "", 1),
            )
        elif self.structure == "hnsw":
            index = faiss_build.graph(rows, self.codes)
        else:
            index = faiss_build.Lists(rows, np.empty(0, dtype=np.int64)).filled(self.codes)
        file = index_file.write(self.folder, index, rows.runs.size, rows.runs.last, 1, certificate)
        found = faiss_build.mapped(self.folder / file.file, certificate.structure)
        flat = certificate.structure == "flat"
        head = FlatIndex(self.dim, rows, found) if flat else CodedIndex(rows, found, certificate)
        self.inner = VectorSet(self.dim, [head], certificate)

    def remove(self, ids):
        self.inner = self.inner.without(ids)

    def __len__(self):
        return len(self.inner)

    def __getattr__(self, name):
        return getattr(self.inner or FlatIndex(self.dim), name)


@pytest.mark.parametrize(
    ("structure", "names"),
    [("flat", "float16"), ("hnsw", "sq8"), ("hnsw", "float16"), *(("ivf", name) for name in faiss_build.CODES)],
)
class TestIndexFiles(VectorIndexSuite):
    recall = 0.95  # random directions in 24 dimensions: the hardest there are

    @pytest.fixture
    def make(self, structure, names, tmp_path):
        return lambda dim: Sealed(tmp_path, dim, structure, names)


def clustered(rows, dim=32, seed=0):
    """Unit vectors around a hundred directions, and which of these each belongs to."""
    rng = np.random.default_rng(seed)
    which = rng.integers(100, size=rows)
    vectors = unit(100, dim, seed=99)[which] + 0.12 * rng.normal(size=(rows, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), which


@pytest.fixture(scope="module")
def crowd():
    """Eight thousand rows in an index of lists whose certificate is 0.97, and questions it never saw."""
    vectors, which = clustered(8000)
    rows = StoredRows(32)
    rows.append(np.arange(8000, dtype=np.int64) * 2, vectors)
    asked = Questions(clustered(1200, seed=1)[0], "more of the same", np.empty(0, dtype=np.int64))
    index, certificate, tried = choose(rows, asked, VectorSettings(recall=0.97))
    return rows, CodedIndex(rows, index, certificate), tried, which


def recall(found, true):
    return np.mean(
        [len(set(a) & set(b) - {-1}) / len(set(b) - {-1}) for a, b in zip(found.tolist(), true.tolist(), strict=True)]
    )


def test_the_shortest_codes_that_reach_the_target_are_taken_and_reach_it_again(crowd):
    _, index, tried, _ = crowd
    assert [one.certified for one in tried] == [False] * (len(tried) - 1) + [True]
    assert index.certificate is tried[-1]
    assert index.certificate.recall >= index.certificate.lower >= 0.97
    assert sorted(one.bytes_per_vector for one in tried) == [one.bytes_per_vector for one in tried]
    fresh = clustered(500, seed=2)[0]
    assert recall(index.search(fresh, 10)[1], index.search(fresh, 10, exact=True)[1]) >= index.certificate.lower


@pytest.mark.parametrize("share", [0.001, 0.01, 0.05, 0.5])
@pytest.mark.parametrize("whole_clusters", [False, True])
def test_filters_inside_the_search_find_what_brute_force_finds(crowd, share, whole_clusters):
    rows, index, _, which = crowd
    rng = np.random.default_rng(3)
    chosen = rng.random(8000) < share
    if whole_clusters:  # far from most questions
        chosen = np.isin(which, rng.choice(100, max(1, int(100 * share)), replace=False)) & (rng.random(8000) < 0.9)
    allowed = rows.runs.ids(np.flatnonzero(chosen))
    fresh = clustered(200, seed=4)[0]
    found, true = index.search(fresh, 10, allowed)[1], index.search(fresh, 10, allowed, exact=True)[1]
    assert set(found.ravel().tolist()) <= {*allowed.tolist(), -1}
    assert recall(found, true) >= (1.0 if len(allowed) < 0.02 * 8000 else 0.97)
    one = np.concatenate([index.search(query[None], 10, allowed)[1] for query in fresh[:50]])
    assert recall(one, true[:50]) >= (1.0 if len(allowed) < 0.02 * 8000 else 0.97)


def test_where_no_codes_reach_the_target_everything_is_scanned():
    vectors = unit(3000, 32)
    rows = StoredRows(32)
    rows.append(np.arange(3000, dtype=np.int64), vectors)
    asked = Questions(unit(20, 32, seed=1), "too few to be certain", np.empty(0, dtype=np.int64))
    _, certificate, tried = choose(rows, asked, VectorSettings(recall=0.99))
    assert (certificate.structure, certificate.recall, certificate.lower) == ("flat", 1.0, 1.0)
    assert not any(one.certified for one in tried[:-1])
    assert len(tried) > 3


@pytest.mark.parametrize(("high", "share"), [(1.0, 0.97), (1.0, 0.5), (0.3, 0.9), (0.9, 0.99)])
def test_the_bound_is_wrong_no_more_often_than_it_says(high, share):
    """Values of 1 and `high` minus something: true mean known, 400 samples of 300."""
    rng = np.random.default_rng(8)
    mean = share * 1.0 + (1 - share) * (1 - high)
    draws = np.where(rng.random((400, 300)) < share, 1.0, 1.0 - high)
    bounds = np.array([lower_bound(draw) for draw in draws])
    assert (bounds > mean).mean() <= 0.06
    assert mean - np.median(bounds) < 0.08


def test_no_queries_and_perfect_queries_are_not_certain():
    assert lower_bound(np.empty(0)) == 0.0
    assert 0.89 < lower_bound(np.ones(40)) < 0.95
    assert lower_bound(np.zeros(500)) < 1e-6


@given(st.lists(st.tuples(st.integers(0, 90), st.lists(st.integers(0, 400), max_size=12)), max_size=12))
def test_a_bitmap_is_a_list_of_flags(steps):
    bits, flags = Bitmap(), []
    for more, dead in steps:
        bits.extend(more)
        flags += [True] * more
        inside = [at for at in dead if at < len(flags)]
        bits.clear(np.array(inside, dtype=np.int64))
        for at in inside:
            flags[at] = False
        assert (bits.size, bits.count, bits.full) == (len(flags), sum(flags), all(flags))
        assert bits.positions().tolist() == [at for at, flag in enumerate(flags) if flag]
        assert bits.positions(8, 30).tolist() == [at for at in range(8, min(30, len(flags))) if flags[at]]
        assert np.unpackbits(bits.packed, bitorder="little")[: len(flags)].tolist() == flags
    alive = bits.positions()
    assert Bitmap.of(alive, bits.size).positions().tolist() == alive.tolist()


@given(st.lists(st.lists(st.integers(0, 60), max_size=30), max_size=8))
def test_runs_are_a_list_of_ids(batches):
    runs, known = Runs(), []
    for batch in batches:
        ids = sorted({(known[-1] if known else -1) + 1 + step for step in batch})
        runs.append(np.array(ids, dtype=np.int64))
        known += ids
    assert runs.ids().tolist() == known
    assert (runs.size, runs.last) == (len(known), known[-1] if known else -1)
    again = Runs.decoded(runs.encoded())
    for some in (runs, again):
        asked = np.arange(-2, (known[-1] if known else 0) + 3)
        position, held = some.positions(asked)
        assert asked[held].tolist() == known
        assert position[held].tolist() == list(range(len(known)))
    again.append(np.array([runs.last + 1, runs.last + 5]))
    assert again.ids().tolist() == [*known, runs.last + 1, runs.last + 5]


# a knowledge base with an index


WORDS = "apple pear plum cherry quince melon garden week river bridge stone tower".split()


def documents(first, last):
    rng = np.random.default_rng(first)
    return [Document(f"d{n}", f"The {' '.join(rng.choice(WORDS, 5))} number {n}.") for n in range(first, last)]


@pytest.fixture
def kb(tmp_path):
    settings = VectorSettings(recall=0.5)
    with KnowledgeBase.create(tmp_path / "kb", encoder=HashingEncoder(dim=64), vectors=settings) as kb:
        kb.add(documents(0, 300))
        kb.build_index()
        yield kb


def structure(kb):
    return getattr(kb.snapshot().index, "certificate", None) and kb.snapshot().index.certificate.structure


def agrees(kb):
    """The index finds its rows, alive, at the scores of brute force, about as many as it promises."""
    live = kb.live_rows()
    vectors = kb.vectors(live)
    asked = vectors[::7]
    scores, ids = kb.snapshot().index.search(asked, 5)
    assert set(ids.ravel().tolist()) <= set(live.tolist())
    np.testing.assert_allclose(
        scores, np.einsum("qkd,qd->qk", kb.vectors(ids.ravel()).reshape(*ids.shape, -1), asked), atol=1e-6
    )
    assert (scores[:, 0] >= 1 - 1e-5).mean() > 0.9  # each finds itself, or its equal
    exact = kb.snapshot().index.search(asked, 5, exact=True)
    np.testing.assert_allclose(exact[0], -np.sort(-(asked @ vectors.T), axis=1)[:, :5], atol=1e-5)


def test_rows_since_the_index_and_rows_that_died_are_searched_as_they_should(kb):
    assert structure(kb) == "ivf"
    kb.add(documents(300, 380))
    kb.delete([f"d{n}" for n in range(0, 380, 3)])
    for opened in (kb, KnowledgeBase.open(kb.path)):
        assert structure(opened) == "ivf"
        assert opened.count == 253
        agrees(opened)
    assert kb.verify() == []
    told = kb.status()
    assert "recall@10" in told.vectors
    assert "80 newer ones exactly" in told.vectors
    assert told.index["queries"] > 50
    assert told.bytes["index"] > 0


def test_an_older_generation_is_searched_through_an_index_that_knows_more(kb):
    kb.add(documents(300, 360))
    kb.build_index()
    with KnowledgeBase.open(kb.path, as_of=1) as old:
        assert structure(old) == "ivf"
        assert len(old.snapshot().index) == 300
        agrees(old)


def test_going_back_and_compacting_leave_an_index_that_is_right(kb):
    kb.delete([f"d{n}" for n in range(100)])
    kb.rollback(1)
    agrees(kb)
    kb.compact()
    assert structure(kb) == "ivf"
    assert index_file.named(kb.store.catalog).rows == 300
    agrees(kb)
    assert kb.verify() == []
    assert "a vector index was made" in " ".join(kb.take_notes())


def test_codes_of_what_is_forgotten_are_in_no_file(tmp_path):
    """Half-precision codes would show it: the forgotten vector's own bytes."""
    settings = VectorSettings(recall=1)
    with KnowledgeBase.create(tmp_path / "kb", encoder=HashingEncoder(dim=64), vectors=settings) as kb:
        kb.add(documents(0, 40))
        kb.build_index()
        (row,) = [row for row in kb.store.catalog.live_rows(1) if kb.chunks([row])[0].document == "d7"]
        needle = kb.vectors([row])[0].astype("<f2").tobytes()
        before = {path.name for path in (kb.path / "index").iterdir() if needle in path.read_bytes()}
        assert before
        kb.forget(["d7"])
        assert structure(kb) == "flat"
        assert not [path for path in kb.path.rglob("*") if path.is_file() and needle in path.read_bytes()]
        agrees(kb)


@pytest.mark.parametrize("fault", ["missing", "torn", "changed", "stray", "none"])
def test_an_index_that_is_damaged_is_done_without_told_and_mended(kb, fault):
    (path,) = (kb.path / "index").iterdir()
    content = path.read_bytes()
    kb.close()
    if fault == "missing":
        path.unlink()
    elif fault == "torn":
        path.write_bytes(content[:100])
    elif fault == "changed":
        path.write_bytes(content[:-3] + bytes(255 - one for one in content[-3:]))
    elif fault == "stray":
        (kb.path / "index" / "00000009.faiss.tmp").write_bytes(b"half")
    with KnowledgeBase.open(kb.path) as again:
        found = Dense().retrieve(again, [again.document("d5").text], 1)[0]
        assert found[0].chunk.document == "d5"
        if fault in ("missing", "torn"):
            assert structure(again) is None
            assert "searched exactly: llmkit kb repair makes it anew" in " ".join(again.take_notes())
        findings = again.verify()
        assert [one.part for one in findings] == (["index"] if fault != "none" else [])
        assert again.repair() == findings
        assert again.verify() == []
        assert structure(again) == "ivf"
        agrees(again)


def test_an_index_is_made_when_it_is_due_and_not_before(tmp_path):
    settings = VectorSettings(recall=0.5, small=100)
    with KnowledgeBase.create(tmp_path / "kb", encoder=HashingEncoder(dim=64), vectors=settings) as kb:
        kb.add(documents(0, 100))
        assert structure(kb) is None
        kb.add(documents(100, 101))
        assert structure(kb) == "ivf"
        (told,) = kb.take_notes()
        assert told.startswith("a vector index was made: searched through ivf/rabitq")
        kb.add(documents(101, 201))
        assert index_file.named(kb.store.catalog).rows == 101
        with KnowledgeBase.open(kb.path) as reader:
            _ = reader.snapshot().index
            kb.add(documents(201, 202))
            assert index_file.named(kb.store.catalog).rows == 202
            assert len(list((kb.path / "index").iterdir())) == 1
            assert len(reader.snapshot().index.search(unit(1, 64), 3)[1]) == 1  # its own file is gone, and still mapped
        assert [one.id for one in kb.log()] == [1, 2, 3, 4]  # an index is no generation


def test_an_index_that_cannot_be_made_is_told_and_stops_nothing(tmp_path, monkeypatch):
    settings = VectorSettings(recall=0.5, small=10)
    with KnowledgeBase.create(tmp_path / "kb", encoder=HashingEncoder(dim=64), vectors=settings) as kb:
        monkeypatch.setattr(
            HashingEncoder, "encode_queries", lambda self, texts: np.zeros((len(texts), 64), np.float32)
        )
        kb.add(documents(0, 20))
        assert kb.count == 20
        assert "no vector index was made: the encoder" in kb.take_notes()[0]


def test_settings_that_cannot_be_are_refused_and_not_passed_over(kb):
    for wrong in ({"structure": "flat", "codes": "pq"}, {"structure": "hnsw", "codes": "rabitq"}, {"recall": 0}):
        with pytest.raises(ValueError, match=r"no codes|graph|greater than 0"):
            VectorSettings(**wrong)
    with pytest.raises(KnowledgeError, match="4096 of them; these are 300 of 64"):
        kb.build_index(VectorSettings(recall=0.5, codes="pq"))
    assert (structure(kb), kb.vector_settings.codes) == ("ivf", None)  # those that were there
    kb.build_index(VectorSettings(recall=0.4, codes="sq8"))
    assert (kb.snapshot().index.certificate.codes, kb.vector_settings.recall) == ("sq8", 0.4)


def test_one_chunk_and_none_are_no_reason_to_fail(tmp_path):
    with KnowledgeBase.create(tmp_path / "kb", encoder=HashingEncoder(dim=64)) as kb:
        with pytest.raises(KnowledgeError, match="holds no vectors"):
            kb.build_index()
        kb.add([Document("one", "A sentence that is long enough to be asked.")])
        assert kb.build_index()[0].structure == "flat"
        assert kb.snapshot().index.search(kb.vectors([1]), 3)[1].tolist() == [[1, -1, -1]]
        kb.delete(["one"])
        assert (kb.snapshot().index.search(unit(1, 64), 3)[1] == -1).all()


def test_a_recall_of_one_is_exact_and_opens_without_reading_the_vectors(tmp_path):
    settings = VectorSettings(recall=1, small=50)
    with KnowledgeBase.create(tmp_path / "kb", encoder=HashingEncoder(dim=64), vectors=settings) as kb:
        kb.add(documents(0, 60))
        assert structure(kb) == "flat"
        assert isinstance(kb.snapshot().index.parts[0], FlatIndex)
        agrees(kb)
