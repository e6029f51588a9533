"""Rerankers on real sentence-transformers models, made here: small, random, whole."""

from __future__ import annotations

import json

import pytest

from llmkit import config
from llmkit.encoders.hashing import HashingEncoder
from llmkit.errors import KnowledgeError, LlmkitError, ModelError
from llmkit.knowledge.knowledge_base import KnowledgeBase
from llmkit.models.scripted import ScriptedChat
from llmkit.pipeline import Pipeline, load_pipeline
from llmkit.protocols import Reranker
from llmkit.retrieval.dense_and_bm25 import BM25
from llmkit.retrieval.rerankers.sentence_transformers import CrossEncoder, LateInteraction, rank_by_scores
from llmkit.types import Document

pytest.importorskip("sentence_transformers", reason="needs the extra train")

VOCABULARY = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    *"the of is in when where pump mill cheese bread may".split(),
]
SIZES = {"vocab_size": 16, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}


def tokenizer():
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertTokenizerFast

    made = Tokenizer(models.WordLevel({word: n for n, word in enumerate(VOCABULARY)}, unk_token="[UNK]"))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return BertTokenizerFast(tokenizer_object=made)


@pytest.fixture(scope="module")
def cross_encoder(tmp_path_factory):
    """A folder as sentence-transformers and transformers write it."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("cross")
    BertForSequenceClassification(BertConfig(**SIZES, max_position_embeddings=64, num_labels=1)).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def multi_vector(tmp_path_factory):
    import torch
    from sentence_transformers import MultiVectorEncoder
    from transformers import BertConfig, BertModel

    torch.manual_seed(1)
    base, folder = tmp_path_factory.mktemp("bert"), tmp_path_factory.mktemp("colbert")
    BertModel(BertConfig(**SIZES, max_position_embeddings=64)).save_pretrained(base)
    tokenizer().save_pretrained(base)
    MultiVectorEncoder(str(base), device="cpu").save_pretrained(str(folder))
    return str(folder)


@pytest.fixture
def kb(tmp_path):
    texts = ["The pump of the mill", "Cheese is in the mill", "The bread of May", "pump " * 80]
    with KnowledgeBase.create(tmp_path / "kb", encoder=HashingEncoder()) as kb:
        kb.add([Document(f"d{n}", text) for n, text in enumerate(texts)])
        yield kb


def part(kind, cross_encoder, multi_vector):
    if kind == "cross-encoder":
        return CrossEncoder(model=cross_encoder, max_tokens=32, device="cpu")
    return LateInteraction(model=multi_vector, device="cpu")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["cross-encoder", "late-interaction"])
def test_many_questions_are_each_one_alone_and_scores_are_kept(kind, kb, cross_encoder, multi_vector):
    reranker = part(kind, cross_encoder, multi_vector)
    assert isinstance(reranker, Reranker)
    queries = ["where is the pump", "the bread"]
    hits = BM25().retrieve(kb, queries, 4)
    together = reranker.rerank_all(queries, hits, 3)
    assert [len(found) for found in together] == [min(3, len(found)) for found in hits]
    for query, before, after in zip(queries, hits, together, strict=True):
        assert [hit.score for hit in after] == sorted((hit.score for hit in after), reverse=True)
        bm25 = {hit.chunk.id: hit.scores["bm25"] for hit in before}
        for hit in after:
            assert hit.scores == {"bm25": bm25[hit.chunk.id], kind: pytest.approx(hit.score)}
        (alone,) = reranker.rerank_all([query], [before], 3)
        assert [hit.chunk.id for hit in alone] == [hit.chunk.id for hit in after]
        assert [hit.score for hit in alone] == pytest.approx([hit.score for hit in after], abs=1e-4)
    assert reranker.rerank_all(queries, [[], []], 3) == [[], []]
    assert reranker.rerank_all([], [], 3) == []


@pytest.mark.slow
def test_late_interaction_is_the_sum_of_best_cosines(kb, multi_vector):
    reranker = LateInteraction(model=multi_vector, device="cpu")
    hits = BM25().retrieve(kb, ["the mill"], 2)
    (best, *_) = reranker.rerank_all(["the mill"], hits, 1)[0]
    query = reranker._model.encode_query(["the mill"], convert_to_numpy=True)[0]
    passage = reranker._model.encode_document([best.chunk.indexed_text], convert_to_numpy=True)[0]
    assert best.score == pytest.approx(float((query @ passage.T).max(axis=1).sum()), abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["cross-encoder", "late-interaction"])
def test_what_is_too_long_is_counted_and_told(kind, kb, cross_encoder, multi_vector):
    model = cross_encoder if kind == "cross-encoder" else multi_vector
    reranker = {"type": kind, "model": model, "device": "cpu"} | ({"max_tokens": 32} if kind == "cross-encoder" else {})
    steps = [{"type": "retrieve", "retriever": "bm25"}, {"type": "rerank", "k": 2, "reranker": reranker}]
    state = Pipeline(name="t", steps=steps).with_knowledge(kb).run("the pump")
    detail = state.records[1].detail
    assert detail["cut"] == 1
    assert detail["notes"] == [
        f"1 of {len(state.retrieved)} passages are longer than the reranker's input: their ends were not read"
    ]
    assert len(state.hits) == 2
    assert kind in detail["hits"][0]
    assert "bm25" in detail["hits"][0]
    json.dumps(detail)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["cross-encoder", "late-interaction"])
def test_a_model_that_is_not_there_is_an_error_with_its_name(kind, kb, tmp_path):
    reranker = config.build_part("reranker", {"type": kind, "model": str(tmp_path / "none")})
    hits = BM25().retrieve(kb, ["the pump"], 2)
    with pytest.raises(ModelError, match=r"none.*LLMKIT_RERANKER=FOLDER"):
        reranker.rerank_all(["the pump"], hits, 1)


@pytest.mark.slow
def test_a_classifier_of_several_classes_is_no_reranker(kb, tmp_path):
    from transformers import BertConfig, BertForSequenceClassification

    made = BertForSequenceClassification(BertConfig(**SIZES, max_position_embeddings=64, num_labels=3))
    made.save_pretrained(tmp_path / "m")
    tokenizer().save_pretrained(tmp_path / "m")
    reranker = CrossEncoder(model=str(tmp_path / "m"), max_tokens=32, device="cpu")
    with pytest.raises(ModelError, match="gives one"):
        reranker.rerank_all(["the pump"], BM25().retrieve(kb, ["the pump"], 2), 1)
    with pytest.raises(ModelError, match="positions"):
        CrossEncoder(model=str(tmp_path / "m"), device="cpu").rerank_all(
            ["the pump"], BM25().retrieve(kb, ["the pump"], 2), 1
        )


def test_equal_scores_keep_their_order_and_no_number_is_refused(kb):
    hits = BM25().retrieve(kb, ["the pump of the mill"], 3)
    assert [hit.chunk.id for hit in rank_by_scores(hits, [1.0] * 3, 3, "x")[0]] == [hit.chunk.id for hit in hits[0]]
    with pytest.raises(KnowledgeError, match="not a number"):
        rank_by_scores(hits, [1.0, float("nan"), 2.0], 3, "x")


def test_nothing_to_rerank_is_told(kb):
    class Reverse(CrossEncoder):
        def rerank_all(self, queries, hits, k):
            return [list(reversed(found))[:k] for found in hits]

        def cut(self, queries, hits):
            return 0

    steps = [{"type": "retrieve", "retriever": "bm25"}, {"type": "rerank", "reranker": Reverse(model="x")}]
    state = Pipeline(name="t", steps=steps).with_knowledge(kb).run("zebra")
    assert state.records[1].detail["notes"] == ["no passages were found: there is nothing to rerank"]


def test_a_reranker_must_be_named():
    with pytest.raises((LlmkitError, ValueError)):
        config.build_part("step", {"type": "rerank"})


@pytest.mark.slow
def test_the_deep_pipeline_runs_as_it_ships(kb, cross_encoder, monkeypatch):
    monkeypatch.setenv("LLMKIT_RERANKER", cross_encoder)
    monkeypatch.setenv("LLMKIT_RERANKER_TOKENS", "32")
    pipeline = load_pipeline("docs-qa-deep", ["steps.extract.threshold=0"]).with_knowledge(kb)
    said = ScriptedChat(["1. Where does the pump stand?\n2. Is there a pump in the mill?"])
    state = pipeline.with_models(lambda spec: said).run("Where is the pump?")
    assert [record.step.split()[1] for record in state.records] == ["retrieve", "rerank", "expand", "extract"]
    assert len(state.records[0].detail["queries"]) == 3
    assert len(state.retrieved) == 4
    (citation,) = state.answer.citations
    assert kb.document(citation.document).text[citation.start : citation.end] == citation.quote
