"""Our own parts through the suites that we ship."""

from __future__ import annotations

import numpy as np
import pytest

from llmkit import config
from llmkit.encoders.hashing import HashingEncoder
from llmkit.encoders.local import LocalEncoder
from llmkit.errors import KnowledgeError
from llmkit.knowledge.knowledge_base import KnowledgeBase
from llmkit.knowledge.local.vectors.flat_index import FlatIndex
from llmkit.testing.encoder_suite import EncoderSuite
from llmkit.testing.retriever_suite import RetrieverSuite, fill
from llmkit.testing.vector_index_suite import VectorIndexSuite, unit

LOADED: dict[str, EncoderSuite] = {}


def cached(encoder):
    """The encoder of that configuration, loaded once for all tests."""
    return LOADED.setdefault(encoder.digest, encoder)


class TestHashing(EncoderSuite):
    @pytest.fixture
    def encoder(self):
        return HashingEncoder()


@pytest.mark.slow
class TestLocalOpenVINO(EncoderSuite):
    tolerance = 0.02  # bf16

    @pytest.fixture
    def encoder(self, weights_home):
        return cached(LocalEncoder())


@pytest.mark.slow
class TestLocalONNXRuntime(TestLocalOpenVINO):
    tolerance = 1e-5

    @pytest.fixture
    def encoder(self, weights_home):
        return cached(LocalEncoder(runtime="onnxruntime"))


@pytest.mark.slow
class TestSentenceTransformer(TestLocalOpenVINO):
    tolerance = 1e-5

    @pytest.fixture
    def encoder(self, weights_home):
        from llmkit.encoders.sentence_transformer import SentenceTransformerEncoder

        pytest.importorskip("sentence_transformers", reason="needs the extra train")
        return cached(SentenceTransformerEncoder(model=str(weights_home / "models" / "minilm")))


class TestFlatIndex(VectorIndexSuite):
    @pytest.fixture
    def make(self):
        return FlatIndex

    def test_it_tells_what_it_holds(self, make):
        index = make(4)
        asked = np.array([0, 1, 2, 5, 9], dtype=np.int64)
        assert not index.holds(asked).any()
        index.add(np.array([1, 5], dtype=np.int64), unit(2, 4))
        assert index.holds(asked).tolist() == [False, True, False, True, False]
        assert index.holds(asked[:0]).tolist() == []

    @pytest.mark.parametrize("ids", [[3, 2], [1, 1]])
    def test_ids_out_of_step_are_refused(self, make, ids):
        with pytest.raises(KnowledgeError, match="ascending"):
            make(4).add(np.array(ids, dtype=np.int64), unit(2, 4))
        with pytest.raises(KnowledgeError, match="shape"):
            make(4).add(np.array([1], dtype=np.int64), unit(2, 4))
        with pytest.raises(KnowledgeError, match="has none"):
            make(4).vectors(np.array([1], dtype=np.int64))


@pytest.fixture(scope="module")
def kb(tmp_path_factory):
    with KnowledgeBase.create(tmp_path_factory.mktemp("kb") / "kb", encoder=HashingEncoder(dim=512)) as kb:
        fill(kb)
        yield kb


@pytest.mark.parametrize(
    "retriever",
    [
        "dense",
        {"type": "hybrid", "fusion": "rrf"},
        {"type": "hybrid", "fusion": "weighted", "weights": [0.3, 0.7]},
        {"type": "hybrid", "parts": ["dense", {"type": "mmr", "of": "dense"}], "fusion": "rrf"},
        {"type": "mmr", "of": "dense", "trade_off": 0.9},
    ],
    indirect=True,
    ids=str,
)
class TestRetrievers(RetrieverSuite):
    @pytest.fixture
    def retriever(self, request):
        return config.build_part("retriever", request.param)


class TestBM25(RetrieverSuite):
    """Every document shares "the" or "is" with both queries, so BM25 can fill any k as well."""

    queries = ("Which garden is it that the quince grows in?", "plum in week 2 of the garden")

    @pytest.fixture
    def retriever(self):
        return config.build_part("retriever", "bm25")


def test_optional_promises_are_kept_by_the_parts_that_documentation_names():
    from llmkit import protocols
    from llmkit.encoders import HashingEncoder, LocalEncoder
    from llmkit.evaluation.metrics import Rouge, UnitTests
    from llmkit.models.caching_chat import CachingChat
    from llmkit.models.local.chat_model import LocalChat
    from llmkit.pipeline.steps import Abstain, Retrieve
    from llmkit.retrieval import BM25, Dense, Hybrid, LocalCrossEncoder

    for promise, kept, not_kept in (
        (protocols.MeasuresUnknownTokens, LocalEncoder(), HashingEncoder()),
        (protocols.RanksRows, BM25(), Hybrid()),
        (protocols.CountsTruncatedPairs, LocalCrossEncoder(model="x"), Dense()),
        (protocols.WithholdsText, Abstain(calibration="x"), Retrieve()),
        (protocols.ScoresAcrossRepeats, UnitTests(), Rouge()),
    ):
        assert isinstance(kept, promise), promise
        assert not isinstance(not_kept, promise), promise
    for model in (CachingChat, LocalChat):
        assert callable(model.count_prompt_tokens)
