"""The torch-free cross-encoder: parity with transformers, long pairs, adapters, foreign folders."""

from __future__ import annotations

import json

import numpy as np
import pytest

from llmkit.errors import ModelError
from llmkit.retrieval.rerankers.local_cross_encoder import LocalCrossEncoder, min_max_scale
from llmkit.types import Chunk, Hit

WORDS = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "a", "pump", "valve", "cold", "water", "in", "may", "leaks", "fast"]
SIZES = {
    "vocab_size": len(WORDS),
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 70,
}
PAIRS = [("pump leaks", "cold water leaks in may"), ("valve", "a pump"), ("cold", "may " * 30), ("water in", "fast")]


def word_tokenizer(folder, *, roberta: bool = False) -> None:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    middle, second = ("[SEP] [SEP]", 0) if roberta else ("[SEP]", 1)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair=f"[CLS] $A {middle} $B:{second} [SEP]:{second}",
        special_tokens=[("[CLS]", 1), ("[SEP]", 2)],
    )
    tokenizer.save(str(folder / "tokenizer.json"))


def classifier(folder, family: str = "bert", labels: int = 1):
    """A tiny random cross-encoder, as transformers saves it."""
    torch = pytest.importorskip("torch", reason="needs the extra train")
    import transformers

    torch.manual_seed(0)
    settings = {**SIZES, "num_labels": labels, "initializer_range": 0.4}
    if family == "bert":
        model = transformers.BertForSequenceClassification(transformers.BertConfig(**settings))
    else:
        config = transformers.RobertaConfig(**settings, pad_token_id=0, type_vocab_size=1)
        model = transformers.RobertaForSequenceClassification(config)
    model.eval().save_pretrained(folder)
    word_tokenizer(folder, roberta=family != "bert")
    return model


def reference(model, folder, pairs):
    import torch
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    found = []
    for query, passage in pairs:
        one = tokenizer.encode(query, passage)
        with torch.no_grad():
            output = model(torch.tensor([one.ids]), token_type_ids=torch.tensor([one.type_ids]))
        found.append(output.logits[0].tolist()[0])
    return np.array(found)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["bert", "roberta"])
@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_scores_agree_with_transformers(tmp_path, weights_home, family, runtime):
    expected = reference(classifier(tmp_path, family), tmp_path, PAIRS * 20)
    reranker = LocalCrossEncoder(model=str(tmp_path), max_tokens=64, runtime=runtime, precision="f32")
    found = reranker.score(*zip(*(PAIRS * 20), strict=True))
    np.testing.assert_allclose(found.scores, expected, atol=2e-4)
    assert np.corrcoef(found.scores, expected)[0, 1] >= 0.9999
    assert np.std(expected) > 0.1, "a random model that says the same of everything proves nothing"
    assert (found.windowed, found.cut) == (0, 0)


def test_a_long_passage_is_read_whole_and_its_best_window_counts(tmp_path):
    classifier(tmp_path)
    reranker = LocalCrossEncoder(model=str(tmp_path), max_tokens=16, precision="f32")
    long = "cold water " * 40 + "pump leaks fast " + "in may " * 40
    found = reranker.score(["pump leaks"] * 2, [long, "cold water"])
    assert (found.windowed, found.cut) == (1, 0)
    words, width, step = long.split(), 16 - 3 - 2, 8
    starts = [*range(0, len(words) - width, step), len(words) - width]
    pieces = [" ".join(words[start : start + width]) for start in starts]
    assert found.scores[0] == pytest.approx(reranker.score(["pump leaks"] * len(pieces), pieces).scores.max(), abs=1e-5)
    short = reranker.replace(long="cut").score(["pump leaks"], [long])
    assert (short.windowed, short.cut) == (0, 1)
    assert short.scores[0] == pytest.approx(reranker.score(["pump leaks"], [pieces[0]]).scores[0], abs=1e-5)
    assert reranker.score(["cold " * 40], ["pump"]).cut == 1
    hits = [[Hit(Chunk("d", 0, 0, 9, long, 9), 1.0), Hit(Chunk("d", 1, 0, 9, "cold", 9), 1.0)]]
    assert reranker.cut(["pump"], hits) == 0
    assert reranker.replace(long="cut").cut(["pump"], hits) == 1


def test_hits_are_reordered_with_the_retrievers_score_as_prior(tmp_path):
    classifier(tmp_path)
    hits = [
        Hit(Chunk("d", i, 0, 4, text, 4), score, {"dense": score})
        for i, (text, score) in enumerate([("cold water", 0.9), ("pump leaks", 0.8), ("may", 0.1)])
    ]
    reranker = LocalCrossEncoder(model=str(tmp_path), max_tokens=32, precision="f32")
    own = reranker.score(["pump"] * 3, [hit.chunk.indexed_text for hit in hits]).scores
    (ranked,) = reranker.rerank_all(["pump"], [hits], 2)
    assert [hit.chunk.ordinal for hit in ranked] == np.argsort(-own)[:2].tolist()
    assert set(ranked[0].scores) == {"dense", "reranker"}
    (trusting,) = reranker.replace(prior=1000.0).rerank_all(["pump"], [hits], 3)
    assert [hit.chunk.ordinal for hit in trusting] == [0, 1, 2]
    assert reranker.rerank_all(["pump", "valve"], [hits, []], 3)[1] == []
    assert min_max_scale([2.0, 2.0]).tolist() == [1.0, 1.0]


def test_what_is_no_cross_encoder_says_so(tmp_path):
    with pytest.raises(ModelError, match="no model at"):
        LocalCrossEncoder(model=str(tmp_path / "none")).score(["a"], ["b"])
    with pytest.raises(ModelError, match=r"has no config\.json"):
        LocalCrossEncoder(model=str(tmp_path)).score(["a"], ["b"])
    classifier(tmp_path, labels=3)
    with pytest.raises(ModelError, match="3 labels"):
        LocalCrossEncoder(model=str(tmp_path), max_tokens=32).score(["a"], ["b"])
    with pytest.raises(ModelError, match="positions"):
        LocalCrossEncoder(model=str(tmp_path), max_tokens=512).score(["a"], ["b"])
    (tmp_path / "reranker.json").write_text(json.dumps({"pooling": "best"}))
    with pytest.raises(ModelError, match="pooling"):
        LocalCrossEncoder(model=str(tmp_path), max_tokens=32).score(["a"], ["b"])
