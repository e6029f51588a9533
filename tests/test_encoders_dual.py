"""The dual encoder: DPR's checkpoints, Router folders, deltas, prefixes, cuts; parity with torch."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tiny
from pydantic import ValidationError

from llmkit.encoders.dual import DualEncoder
from llmkit.encoders.local import LocalEncoder
from llmkit.encoders.sentence_transformer import SentenceTransformerEncoder
from llmkit.errors import DataError, ModelError
from llmkit.testing.encoder_suite import EncoderSuite

TEXTS = ["cold water in the tank", "pump", "what is the red valve for", "steam boiler heat and oil pressure gauge"]


def torch_vectors(model, folder, texts, pooling="mean", prefix=""):
    import torch
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    made = []
    for text in texts:
        ids = torch.tensor([tokenizer.encode(prefix + text).ids])
        with torch.no_grad():
            out = model.eval()(ids, attention_mask=torch.ones_like(ids))
        state = out.last_hidden_state[0] if hasattr(out, "last_hidden_state") else None
        if pooling == "dpr":
            made.append(out.pooler_output[0].numpy())
        else:
            pooled = {"mean": lambda s: s.mean(0), "cls": lambda s: s[0], "max": lambda s: s.amax(0)}[pooling](state)
            made.append(pooled.numpy())
    return np.array(made)


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def dpr(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dpr")
    return tiny.dpr(folder / "q", "query", 1), tiny.dpr(folder / "p", "passage", 2)


class TestDual(EncoderSuite):
    """The conformance suite, with all at once: two towers, prefixes, a cut."""

    @pytest.fixture
    def encoder(self, dpr):
        return DualEncoder(
            model=str(dpr[0]), passage_model=str(dpr[1]), query_prefix="what ", passage_prefix="the ", truncate_dim=16,
            longest=36, precision="f32", similarity="cosine",
        )  # fmt: skip


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_dpr_checkpoints_give_torchs_inner_products_in_unit_vectors(dpr, runtime):
    import transformers

    query = transformers.DPRQuestionEncoder.from_pretrained(dpr[0])
    passage = transformers.DPRContextEncoder.from_pretrained(dpr[1])
    q = torch_vectors(query, dpr[0], TEXTS, "dpr")
    p = torch_vectors(passage, dpr[1], TEXTS, "dpr")
    settings = {"model": str(dpr[0]), "passage_model": str(dpr[1]), "longest": 32, "precision": "f32"}
    with pytest.raises(ModelError, match="inner product"):
        DualEncoder(**settings).encode_queries(TEXTS)
    cosine = DualEncoder(**settings, similarity="cosine", runtime=runtime)
    assert (cosine.encode_queries(TEXTS) * unit(q)).sum(1).min() >= 0.9999
    assert (cosine.encode_passages(TEXTS) * unit(p)).sum(1).min() >= 0.9999
    greatest = float(np.linalg.norm(p, axis=1).max()) * 1.1
    dot = DualEncoder(**settings, similarity="dot", max_norm=greatest, runtime=runtime)
    found_q, found_p = dot.encode_queries(TEXTS), dot.encode_passages(TEXTS)
    assert found_q.shape == (4, dot.dim) == (4, 33)
    np.testing.assert_allclose(np.linalg.norm(found_p, axis=1), 1, atol=1e-5)
    lengths = np.linalg.norm(q, axis=1, keepdims=True)
    np.testing.assert_allclose(found_q @ found_p.T * lengths * greatest, q @ p.T, atol=1e-3, rtol=1e-3)
    assert dot.identity != cosine.identity
    with pytest.raises(DataError, match="longer than max_norm"):
        dot.replace(max_norm=0.1).encode_passages(TEXTS)
    with pytest.raises(ValidationError, match="come together"):
        DualEncoder(**settings, similarity="dot")


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_pooling_prefix_and_cut_agree_with_torch(tmp_path, pooling):
    import transformers

    folder = tiny.bert(tmp_path)
    model = transformers.BertModel.from_pretrained(folder, add_pooling_layer=False)
    settings = {"model": str(folder), "pooling": pooling, "query_prefix": "red ", "longest": 32, "truncate_dim": 16}
    encoder = DualEncoder(**settings, precision="f32")
    expected = unit(torch_vectors(model, folder, TEXTS, pooling, "red ")[:, :16])
    assert (encoder.encode_queries(TEXTS) * expected).sum(1).min() >= 0.9999
    identities = {encoder.identity} | {
        encoder.replace(**change).identity
        for change in ({"query_prefix": ""}, {"passage_prefix": "x "}, {"truncate_dim": 8}, {"longest": 30})
    }
    assert len(identities) == 5, "every setting that moves a vector is part of the identity"


def test_a_router_of_sentence_transformers_is_read_and_agrees(tmp_path):
    library = pytest.importorskip("sentence_transformers", reason="needs the extra train")
    from sentence_transformers.sentence_transformer.modules import Pooling, Router, Transformer

    sides = [tiny.bert(tmp_path / name, seed) for name, seed in (("a", 1), ("b", 2))]
    for side in sides:
        (side / "tokenizer_config.json").write_text(
            json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]", "unk_token": "[UNK]"})
        )
    towers = [Transformer(str(side)) for side in sides]
    router = Router.for_query_document(
        query_modules=[towers[0], Pooling(32, "cls")], document_modules=[towers[1], Pooling(32, "mean")]
    )
    model = library.SentenceTransformer(modules=[router], device="cpu", prompts={"query": "red ", "document": "blue "})
    model.save_pretrained(str(tmp_path / "router"))
    encoder = DualEncoder(model=str(tmp_path / "router"), longest=32, precision="f32")
    assert (encoder.encode_queries(TEXTS) * unit(model.encode_query(TEXTS))).sum(1).min() >= 0.9999
    assert (encoder.encode_passages(TEXTS) * unit(model.encode_document(TEXTS))).sum(1).min() >= 0.9999
    slow = SentenceTransformerEncoder(model=str(tmp_path / "router"), max_tokens=32)
    assert (encoder.encode_queries(TEXTS) * slow.encode_queries(TEXTS)).sum(1).min() >= 0.9999
    assert (encoder.encode_passages(TEXTS) * slow.encode_passages(TEXTS)).sum(1).min() >= 0.9999


def test_a_delta_is_its_base_with_what_changed_and_refuses_another_base(tmp_path):
    from safetensors.numpy import load_file, save_file

    from llmkit.weights.store import sha256

    base, whole, delta = tiny.bert(tmp_path / "base"), tiny.bert(tmp_path / "whole"), tmp_path / "delta"
    name = "encoder.layer.1.output.dense.weight"
    low = "encoder.layer.0.attention.self.query.weight"
    random = np.random.default_rng(0)
    tensors = load_file(base / "model.safetensors")
    a, b = random.normal(size=(2, 32)).astype(np.float32), random.normal(size=(32, 2)).astype(np.float32)
    changed = {name: tensors[name] * 2, f"{low}.lora_A": a, f"{low}.lora_B": b}
    save_file(tensors | {name: tensors[name] * 2, low: tensors[low] + 0.5 * b @ a}, whole / "model.safetensors")
    delta.mkdir()
    for file in ("config.json", "tokenizer.json"):
        (delta / file).write_bytes((base / file).read_bytes())
    header = {"base": str(base), "base_sha256": sha256(base / "model.safetensors"), "scale": "0.5"}

    def encoder(folder):
        return LocalEncoder(model=str(folder), max_tokens=32, precision="f32")

    save_file(changed, delta / "delta.safetensors", header)
    expected = encoder(whole).encode_passages(TEXTS)
    np.testing.assert_allclose(encoder(delta).encode_passages(TEXTS), expected, atol=1e-5)
    assert encoder(delta).identity != encoder(base).identity
    for tensors, head, message in (
        (changed, header | {"base_sha256": "0" * 64}, "bring that base"),
        ({"nowhere.weight": a}, header, "does not know"),
        ({f"{low}.lora_A": a}, header, "without"),
        ({name: a}, header, "shape"),
        (changed, {}, "does not name its base"),
    ):
        save_file(tensors, delta / "delta.safetensors", head)
        with pytest.raises(ModelError, match=message):
            encoder(delta).encode_passages(TEXTS)


def test_mistakes_are_named(tmp_path, dpr):
    folder = tiny.bert(tmp_path / "m")
    with pytest.raises(ModelError, match="truncate_dim 64 is more than the 32"):
        _ = DualEncoder(model=str(folder), truncate_dim=64, longest=32).dim
    other = tiny.bert(tmp_path / "other", hidden_size=16)
    with pytest.raises(ModelError, match="do not agree"):
        DualEncoder(model=str(folder), passage_model=str(other), longest=32).encode_queries(["pump"])
    (folder / "modules.json").write_text(json.dumps([{"type": "sentence_transformers.models.Dense", "path": ""}]))
    with pytest.raises(ModelError, match="module Dense"):
        _ = DualEncoder(model=str(folder), longest=32).dim
    (other / "model.safetensors").rename(other / "pytorch_model.bin")
    with pytest.raises(ModelError, match="pickle"):
        DualEncoder(model=str(other), longest=32).encode_queries(["pump"])
