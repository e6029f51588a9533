"""LangChain's own standard tests for vector stores and retrievers, on a knowledge base."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime

import pytest
from langchain_core.documents import Document as LangChainDocument
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_tests.integration_tests import RetrieversIntegrationTests, VectorStoreIntegrationTests

from llmkit.encoders.hashing import HashingEncoder
from llmkit.errors import ConfigError, DataError
from llmkit.knowledge.knowledge_base import KnowledgeBase
from llmkit.pipeline import Pipeline
from llmkit.pipeline.langchain import EncoderEmbeddings, KnowledgeRetriever, KnowledgeVectorStore, as_runnable
from llmkit.types import Document


@pytest.fixture
def kb(tmp_path):
    with KnowledgeBase.create(tmp_path / "kb", encoder=HashingEncoder()) as kb:
        yield kb


class TestStandard(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, kb):
        return KnowledgeVectorStore(kb)


class TestStandardRetriever(RetrieversIntegrationTests):
    @pytest.fixture(autouse=True)
    def _filled(self, kb):
        kb.add([Document(f"d{n}", f"Foo number {n} of the garden.") for n in range(6)])
        self.kb = kb

    @property
    def retriever_constructor(self):
        return KnowledgeRetriever

    @property
    def retriever_constructor_params(self):
        return {"kb": self.kb}

    @property
    def retriever_query_example(self):
        return "foo in the garden"


def test_filters_scores_and_neighbours(kb):
    store = KnowledgeVectorStore(kb)
    store.add_texts(
        ["The apple of May.", "The apple of June.", "The stone bridge."],
        [{"n": 1}, {"n": 2}, {"n": 3}],
        ids=["a", "b", "c"],
    )
    (best, score), *_ = store.similarity_search_with_score("apple of June", k=3)
    assert (best.id, best.metadata) == ("b", {"n": 2})
    assert 0 < score <= 1
    assert [one.id for one in store.similarity_search("apple of June", k=3, filter="n < 2")] == ["a"]
    vector = store.embeddings.embed_query("stone bridge")
    assert store.similarity_search_by_vector(vector, k=1)[0].id == "c"
    assert {one.id for one in store.max_marginal_relevance_search("apple", k=2, lambda_mult=0.1)} != {"a", "b"}
    assert store.similarity_search_with_relevance_scores("stone bridge", k=1)[0][1] > 0.5


def test_a_long_document_is_found_by_its_passages(kb):
    store = KnowledgeVectorStore(kb)
    text = " ".join(f"Sentence {n} speaks of garden number {n}." for n in range(200))
    store.add_texts([text], [{"kind": "long"}], ids=["long"])
    found = store.similarity_search("garden number 150", k=1)[0]
    assert found.id.startswith("long#")
    assert text[found.metadata["start"] : found.metadata["end"]] == found.page_content
    assert store.get_by_ids(["long"])[0].page_content == text


def test_what_cannot_be_kept_is_refused(kb, tmp_path):
    with pytest.raises(ConfigError, match="stores the configuration of its encoder"):
        KnowledgeVectorStore.from_texts(["x"], DeterministicFakeEmbedding(size=6), path=str(tmp_path / "new"))
    store = KnowledgeVectorStore.from_texts(["x y"], EncoderEmbeddings(HashingEncoder()), path=str(tmp_path / "new"))
    assert store.similarity_search("x")[0].page_content == "x y"
    (tmp_path / "file.txt").write_text("A file.")
    kb.ingest([tmp_path / "file.txt"])
    with pytest.raises(ConfigError, match="belong to files that were ingested"):
        KnowledgeVectorStore(kb).add_documents([LangChainDocument(id="file.txt", page_content="Other.")])
    with pytest.raises(ConfigError, match="1 texts came with 2 ids"):
        KnowledgeVectorStore(kb).add_texts(["a"], ids=["1", "2"])
    with pytest.raises(ConfigError, match="did you mean 'dense'"):
        KnowledgeRetriever(kb=kb, retriever="dnse")


def test_none_asked_for_is_none_found(kb):
    store = KnowledgeVectorStore(kb)
    store.add_texts(["The apple of May."])
    assert store.similarity_search("apple", k=0) == []
    assert store.similarity_search_by_vector(store.embeddings.embed_query("apple"), k=0) == []
    assert store.max_marginal_relevance_search("apple", k=0) == []
    for retriever in ("dense", "bm25", "hybrid", "mmr"):
        for k in (0, -1):
            with pytest.raises(DataError, match=f"k is {k}"):
                KnowledgeRetriever(kb=kb, retriever=retriever).invoke("apple", k=k)


def test_dates_are_kept_as_texts_and_what_is_not_json_is_named(kb):
    store = KnowledgeVectorStore(kb)
    given = {"date": date(2024, 3, 1), "at": datetime(2024, 3, 1, 12, tzinfo=UTC), "n": [1, {"x": None}]}
    store.add_texts(["The apple of May."], [given], ids=["a"])
    (found,) = store.similarity_search("apple", k=1, filter="date >= 2024-03")
    assert found.metadata == {"date": "2024-03-01", "at": "2024-03-01T12:00:00+00:00", "n": [1, {"x": None}]}
    for wrong, says in (
        ({"by": {"who": {1}}}, "'by', 'who': a set is no JSON value"),
        ({"by": {1: 2}}, "the key 1 is a int"),
    ):
        with pytest.raises(DataError, match=says):
            store.add_texts(["x"], [wrong], ids=["b"])


def test_a_pipeline_is_a_runnable(kb):
    kb.add([Document("a", "The apple is red."), Document("b", "The pear is green.")])
    steps = ["retrieve", {"type": "extract", "threshold": 0}]
    chain = as_runnable(Pipeline(name="p", steps=steps).with_knowledge(kb)) | (lambda state: state.answer.text)
    assert chain.invoke("Which colour has the pear?") == "The pear is green. [1]"
    assert asyncio.run(chain.ainvoke("Which colour has the apple?")) == "The apple is red. [1]"
    assert chain.batch(["The pear?", "The apple?"]) == ["The pear is green. [1]", "The apple is red. [1]"]
