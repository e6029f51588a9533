"""LangChain's own standard tests for vector stores and retrievers, on a knowledge base."""

from __future__ import annotations

import asyncio

import pytest
from langchain_core.documents import Document as LangChainDocument
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_tests.integration_tests import RetrieversIntegrationTests, VectorStoreIntegrationTests

from llmkit.encoders.hashing import HashingEncoder
from llmkit.errors import ConfigError
from llmkit.knowledge.base import KnowledgeBase
from llmkit.pipeline import Pipeline
from llmkit.pipeline.bridge import EncoderEmbeddings, KnowledgeRetriever, KnowledgeVectorStore, as_runnable
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
    with pytest.raises(ConfigError, match="writes its encoder down"):
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


def test_a_pipeline_is_a_runnable(kb):
    kb.add([Document("a", "The apple is red."), Document("b", "The pear is green.")])
    steps = ["retrieve", {"type": "extract", "threshold": 0}]
    chain = as_runnable(Pipeline(name="p", steps=steps).with_knowledge(kb)) | (lambda state: state.answer.text)
    assert chain.invoke("Which colour has the pear?") == "The pear is green. [1]"
    assert asyncio.run(chain.ainvoke("Which colour has the apple?")) == "The apple is red. [1]"
    assert chain.batch(["The pear?", "The apple?"]) == ["The pear is green. [1]", "The apple is red. [1]"]
