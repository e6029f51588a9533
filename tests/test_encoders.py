"""Encoders: parity with the reference, other BERT folders, a real embedding server, mistakes."""

from __future__ import annotations

import json

import numpy as np
import pytest
from conftest import Reply

from llmkit import cpu
from llmkit.encoders.identity import identity, same_space
from llmkit.encoders.local import LocalEncoder
from llmkit.encoders.openai import OpenAIEncoder
from llmkit.encoders.runtime import capabilities
from llmkit.encoders.runtime.runtimes import batches
from llmkit.errors import DataError, ModelError, UnsupportedPrecision

TEXTS = [f"Sentence {i} about pumps, valves and {'very ' * (i % 40)}cold water." for i in range(60)]


@pytest.mark.slow
def test_every_runtime_agrees_with_sentence_transformers(weights_home):
    transformers = pytest.importorskip("sentence_transformers", reason="needs the extra train")
    reference = transformers.SentenceTransformer(str(weights_home / "models" / "minilm")).encode(TEXTS)
    exact = LocalEncoder(runtime="onnxruntime").encode_passages(TEXTS)
    np.testing.assert_allclose(exact, reference, atol=1e-5)
    for choice in ({"precision": "f32"}, {"precision": "bf16"}, {}):
        encoder = LocalEncoder(**choice)
        try:
            found = encoder.encode_passages(TEXTS)
        except UnsupportedPrecision:  # a CPU on which OpenVINO computes bf16 wrongly: then nobody is given vectors
            assert choice == {"precision": "bf16"}
            continue
        cosines = (found * reference).sum(axis=1)
        assert cosines.mean() >= 0.999
        assert cosines.min() >= 0.998


@pytest.mark.slow
@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_a_folder_of_ones_own_is_read_without_torch_and_agrees_with_it(tmp_path, weights_home, family):
    """A tiny random model, saved by transformers, through our graph and through torch."""
    torch = pytest.importorskip("torch", reason="needs the extra train")
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = ["<s>", "<pad>", "</s>", "[UNK]", "pump", "valve", "cold", "water", "in", "May"]
    sizes = {
        "vocab_size": len(words),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 40,
    }
    torch.manual_seed(0)
    if family == "bert":
        model = transformers.BertModel(transformers.BertConfig(**sizes, pad_token_id=1), add_pooling_layer=False)
    else:
        model = transformers.RobertaModel(
            transformers.RobertaConfig(**sizes, pad_token_id=1, type_vocab_size=1), add_pooling_layer=False
        )
    model.eval().save_pretrained(tmp_path)
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    texts = ["pump valve", "cold water in May", "pump"]
    expected = []
    for text in texts:
        ids = torch.tensor([tokenizer.encode(text).ids])
        with torch.no_grad():
            state = model(ids, attention_mask=torch.ones_like(ids)).last_hidden_state[0].mean(0).numpy()
        expected.append(state / np.linalg.norm(state))
    encoder = LocalEncoder(model=str(tmp_path), max_tokens=32, precision="f32")
    np.testing.assert_allclose(encoder.encode_passages(texts), np.array(expected), atol=1e-4)
    assert encoder.identity.startswith(tmp_path.name)
    assert not encoder._tower._graph[0].resolve().is_relative_to(weights_home.resolve()), "left in the user's home"
    with pytest.raises(ModelError, match="positions"):
        _ = LocalEncoder(model=str(tmp_path), max_tokens=64).dim
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "hidden_act": "relu"}))
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(ModelError, match="sentence-transformer"):
        LocalEncoder(model=str(tmp_path), max_tokens=32).encode_queries(["pump"])


def test_missing_or_foreign_folders_say_what_is_missing(tmp_path):
    with pytest.raises(ModelError, match="llmkit models pull minilm"):
        LocalEncoder().encode_queries(["x"])
    with pytest.raises(ModelError, match=r"has no config\.json"):
        LocalEncoder(model=str(tmp_path)).encode_queries(["x"])


def test_batches_hold_every_text_once_within_the_budget():
    ids = [[1] * length for length in (3, 50, 7, 7, 1, 20, 0)]
    seen = []
    for rows, tokens, mask in batches(ids, budget=60, max_texts=3):
        assert tokens.size <= 60
        assert len(rows) <= 3
        assert mask.sum() == sum(len(ids[row]) for row in rows)
        seen += rows.tolist()
    assert sorted(seen) == list(range(7))


def test_identities_differ_in_space_by_all_but_precision():
    one = identity("m", "abc", "mean", 256, "bf16")
    assert same_space(one, identity("m", "abc", "mean", 256, "f32"))
    assert not same_space(one, identity("m", "abd", "mean", 256, "bf16"))
    assert not same_space(one, identity("m", "abc", "mean", 128, "bf16"))


@pytest.mark.parametrize(("first", "second"), [("acme", "other"), ("acme/v1", "acme/v2"), ("m@1/f32", "m@1/v2")])
def test_identities_of_ones_own_form_share_a_space_only_with_themselves(first, second):
    assert not same_space(first, second)
    assert same_space(first, first)


def test_the_candidates_follow_the_cpu_and_what_is_installed(monkeypatch):
    def offered(*request):
        return [(one.runtime, one.precision) for one in capabilities.candidates(*request)]

    both = [("openvino", "f32"), ("onnxruntime", "f32")]
    monkeypatch.setenv("LLMKIT_CPU_FEATURES", "avx2")
    assert offered() == both
    assert offered("auto", "bf16") == [("openvino", "bf16")], "only the check can tell whether it is right"
    monkeypatch.setenv("LLMKIT_CPU_FEATURES", "avx2, amx_bf16")
    assert offered() == [("openvino", "bf16"), *both]
    assert "amx_bf16" in capabilities.choose().why
    assert offered("onnxruntime") == [("onnxruntime", "f32")]
    with pytest.raises(UnsupportedPrecision, match=r"set precision to f32 or auto, or set runtime to openvino"):
        capabilities.choose("onnxruntime", "bf16")
    monkeypatch.setattr(capabilities, "find_spec", lambda name: name == "onnxruntime" or None)
    assert offered() == [("onnxruntime", "f32")]
    assert "not installed" in capabilities.choose().why
    with pytest.raises(UnsupportedPrecision, match="install OpenVINO"):
        capabilities.choose("auto", "bf16")
    with pytest.raises(ModelError, match="openvino is not installed"):
        capabilities.choose("openvino")


def test_instruction_sets_are_read_limited_and_replaced(monkeypatch):
    flags = {"flags": "avx2 avx512f avx512_bf16 amx_bf16 amx_int8"}
    monkeypatch.setattr(cpu, "_description", lambda: flags)
    for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
        monkeypatch.delenv(name, raising=False)
    whole = cpu.fingerprint()
    assert cpu.has_bfloat16()
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_VNNI")
    assert not cpu.has_bfloat16()
    assert "avx512f" in cpu.features()
    limited = cpu.fingerprint()
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_AMX")
    assert cpu.has_bfloat16()
    assert len({whole, limited, cpu.fingerprint()}) == 3, "the runtimes execute other code under each"
    monkeypatch.setenv("LLMKIT_CPU_FEATURES", "")
    assert cpu.features() == frozenset()


@pytest.mark.parametrize(("given", "expected"), [("3", 3), ("0", None), ("many", None), ("", None)])
def test_threads_follow_the_environment_then_the_machine(monkeypatch, given, expected):
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    monkeypatch.setattr(cpu.os, "sched_getaffinity", lambda _: {0, 1, 2, 3, 4}, raising=False)
    assert cpu.threads() == (expected or 5)


@pytest.fixture
def plan(loopback):
    """An embedding server: the vector of a text is its length and its number of spaces, rows in reverse order.

    The list says how the next calls go: a status, or `short` for a row too few.
    """
    plan: list = []

    def embed(body):
        step = plan.pop(0) if plan else 200
        if step not in (200, "short"):
            return loopback.fail(step, **({"Retry-After": "0.1"} if step == 429 else {}))
        rows = [
            {"object": "embedding", "index": i, "embedding": [float(len(t)), float(t.count(" ")), 1.0]}
            for i, t in enumerate(body["input"])
        ]
        rows = rows[:-1] if step == "short" else rows
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        return Reply(json.dumps({"object": "list", "data": rows[::-1], "model": "m", "usage": usage}).encode())

    loopback.answer = embed
    return plan


@pytest.mark.network
class TestOpenAI:
    def test_rows_come_back_in_order_in_batches_of_unit_length(self, plan, loopback):
        texts = [f"{'word ' * n}end" for n in range(7)]
        vectors = OpenAIEncoder(model="m", dim=3, batch_size=3).encode_passages(texts)
        assert [len(body["input"]) for body in loopback.bodies] == [3, 3, 1]
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
        raw = np.array([[len(t), t.count(" "), 1] for t in texts], dtype=float)
        np.testing.assert_allclose(vectors, raw / np.linalg.norm(raw, axis=1, keepdims=True), atol=1e-6)
        assert OpenAIEncoder(model="m", dim=3).encode_queries([]).shape == (0, 3)

    def test_it_tries_again_and_gives_up_clearly(self, plan):
        plan += [429, 500]
        assert OpenAIEncoder(model="m", dim=3).encode_queries(["x"]).shape == (1, 3)
        plan += [500, 500]
        with pytest.raises(ModelError, match="500") as caught:
            OpenAIEncoder(model="m", dim=3, retries=1).encode_queries(["x"])
        assert caught.value.retryable

    def test_answers_that_do_not_fit_are_refused(self, plan):
        with pytest.raises(ModelError, match=r"length \[3\], not 8"):
            OpenAIEncoder(model="m", dim=8).encode_queries(["x"])
        plan += ["short"]
        with pytest.raises(ModelError, match="1 vectors to 2 texts"):
            OpenAIEncoder(model="m", dim=3).encode_queries(["x", "y"])

    def test_a_dead_server_is_named(self, plan, monkeypatch):
        monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
        with pytest.raises(ModelError, match="does not answer"):
            OpenAIEncoder(model="m", dim=3, retries=0).encode_queries(["x"])


def test_the_openai_encoder_wants_a_key_and_refuses_what_is_too_long():
    with pytest.raises(ModelError, match="OPENAI_API_KEY"):
        OpenAIEncoder().encode_queries(["x"])
    with pytest.raises(DataError, match="text 0 has about"):
        OpenAIEncoder(max_tokens=8).encode_queries(["word " * 20])


@pytest.mark.slow
def test_the_default_encoder_knows_what_it_cannot_read(weights_home):
    encoder = LocalEncoder()
    assert encoder.unknown_share("Who wrote the manual?") == 0
    assert encoder.unknown_share("谁写了这本手册?") > 0.3
    assert encoder.unknown_share("") == 0
