"""The self-check of runtimes: right ones pass, wrong ones are refused, on CPUs with and without bfloat16."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tiny
from safetensors.numpy import load_file, save_file

from llmkit import weights
from llmkit.encoders.dual import DualEncoder
from llmkit.encoders.local import LocalEncoder
from llmkit.encoders.runtime import selection
from llmkit.encoders.runtime.selection import TEXTS
from llmkit.errors import ModelError, UnsupportedPrecision
from llmkit.knowledge.knowledge_base import KnowledgeBase
from llmkit.types import Document
from llmkit.weights import self_check, store
from llmkit.weights.self_check import Agreement, Subject, compare_scores, compare_vectors, read_verdict, run_check

SUBJECT = Subject("toy", "1", "f32", "0" * 64)
CASES = {
    "as it is": {},
    "without bfloat16": {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_VNNI"},
    "without bfloat16 and not saying so": {
        "ONEDNN_MAX_CPU_ISA": "AVX512_CORE_VNNI",
        "LLMKIT_CPU_FEATURES": "avx512f avx512_bf16",
    },
    "without AVX-512": {"ONEDNN_MAX_CPU_ISA": "AVX2"},
}
"""Environments that limit what oneDNN, and with it OpenVINO, executes."""
PROBE = """
import json, sys, warnings
import numpy as np
from llmkit.encoders.local import LocalEncoder
from llmkit.encoders.runtime.runtimes import open_runtime
from llmkit.errors import UnsupportedPrecision
model, texts = sys.argv[1], json.loads(sys.argv[2])
def cosine(vectors, reference):
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(reference, axis=1)
    return float(((vectors * reference).sum(1) / lengths).min())
settings = {"model": model, "max_tokens": 32}
exact = LocalEncoder(**settings, runtime="onnxruntime", precision="f32").encode_passages(texts)
graph = LocalEncoder(**settings).checked_graph
raw = np.empty_like(graph.expected)
try:
    open_runtime("openvino", graph.file, "bf16", 1)(graph.inputs, raw)
    unchecked = cosine(raw, graph.expected)
except RuntimeError as error:
    unchecked = 0.0
asked = LocalEncoder(**settings, precision="bf16")
try:
    bf16 = cosine(asked.encode_passages(texts), exact)
except UnsupportedPrecision as error:
    bf16 = str(error)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    auto = LocalEncoder(**settings)
    found = cosine(auto.encode_passages(texts), exact)
print(json.dumps({"unchecked": unchecked, "bf16": bf16, "auto": found, "choice": auto.choice.precision,
    "notes": list(auto.notes), "warnings": [str(one.message) for one in caught if one.category is RuntimeWarning]}))
"""


def probe(model: str, texts: list[str], limits: dict[str, str]) -> dict:
    environment = {key: value for key, value in os.environ.items() if key != "ONEDNN_MAX_CPU_ISA"} | limits
    done = subprocess.run(
        [sys.executable, "-c", PROBE, model, json.dumps(texts)],
        env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def verify(found: dict, limits: dict[str, str]) -> None:
    """bf16 is used if and only if it is right; auto is right always and says what it passed over."""
    assert found["auto"] >= 0.998
    if found["unchecked"] >= 0.999:
        assert found["bf16"] >= 0.998
    else:
        assert "Set precision to f32 or auto" in found["bf16"]
        assert found["choice"] == "f32"
    told = "LLMKIT_CPU_FEATURES" in limits and found["unchecked"] < 0.999
    assert found["notes"] == found["warnings"]
    assert bool(found["notes"]) == told


@pytest.mark.parametrize("case", CASES)
def test_a_wrong_precision_is_refused_on_every_kind_of_cpu(tmp_path, case):
    folder = tiny.bert(tmp_path / "m", hidden_size=256, intermediate_size=512)
    verify(probe(str(folder), ["cold water in the tank", "pump"], CASES[case]), CASES[case])


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_the_default_encoder_is_right_on_every_kind_of_cpu(weights_home, case):
    verify(probe("minilm", ["Cold water voids the warranty.", "How are pumps cooled?"], CASES[case]), CASES[case])


def test_the_reference_in_the_package_belongs_to_the_catalogue_and_to_the_texts():
    entry = weights.catalogue()["minilm"]
    content = (Path(store.__file__).parent / "references" / entry.reference.file).read_bytes()
    kept = store.ReferenceVectors.model_validate_json(content)
    assert hashlib.sha256(content).hexdigest() == entry.reference.sha256
    assert kept.weights == entry.files["model.safetensors"].sha256
    assert kept.texts == TEXTS
    assert "sentence-transformers" in kept.made_by
    vectors = weights.reference_vectors(kept.weights, "mean")
    assert vectors.shape == (len(TEXTS), 384)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert weights.reference_vectors(kept.weights, "cls") is None
    assert weights.reference_vectors("0" * 64, "mean") is None


def test_a_changed_reference_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(store, "_REFERENCES", tmp_path)
    (tmp_path / "minilm.json").write_text("{}")
    with pytest.raises(ModelError, match="install llmkit again"):
        weights.reference_vectors(weights.catalogue()["minilm"].files["model.safetensors"].sha256, "mean")


@pytest.mark.slow
def test_the_reference_is_what_sentence_transformers_computes_and_numpy_too(weights_home):
    library = pytest.importorskip("sentence_transformers", reason="needs the extra train")
    model = library.SentenceTransformer(str(weights_home / "models" / "minilm"), device="cpu")
    expected = model.encode(list(TEXTS), normalize_embeddings=True)
    graph = LocalEncoder().checked_graph
    np.testing.assert_allclose(graph.expected, expected, atol=1e-5)
    other_pooling = DualEncoder(model="minilm", pooling="cls")._towers[0].checked_graph.expected
    cls = model[0](model[0].preprocess(list(TEXTS)))["token_embeddings"][:, 0].detach().numpy()
    np.testing.assert_allclose(other_pooling, cls / np.linalg.norm(cls, axis=1, keepdims=True), atol=1e-5)


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
@pytest.mark.parametrize("unit", [True, False])
def test_numpy_computes_what_a_runtime_does(tmp_path, pooling, unit):
    folder = tiny.bert(tmp_path / "m")
    how = {"similarity": "cosine"} if unit else {"similarity": "dot", "max_norm": 100.0}
    encoder = DualEncoder(model=str(folder), longest=32, pooling=pooling, runtime="onnxruntime", **how)
    graph = encoder._towers[0].checked_graph
    found = np.empty_like(graph.expected)
    selection.open_runtime("onnxruntime", graph.file, "f32", 1)(graph.inputs, found)
    np.testing.assert_allclose(graph.expected, found, atol=1e-5)


class Broken:
    """Runtimes and precisions named in `names` run the real graph and give perturbed results."""

    def __init__(self) -> None:
        self.names: set[tuple[str, str]] = set()
        self.opened: list[tuple[str, str]] = []
        self.real = selection.open_runtime

    def open_runtime(self, runtime, file, precision, threads):
        self.opened.append((runtime, precision))
        run = self.real(runtime, file, precision, threads)

        def perturbed(work, out):
            run(work, out)
            if (runtime, precision) in self.names:
                out += np.random.default_rng(0).normal(size=out.shape).astype(np.float32) * (np.abs(out).mean() + 1)

        return perturbed


@pytest.fixture
def broken(monkeypatch) -> Broken:
    made = Broken()
    monkeypatch.setattr(selection, "open_runtime", made.open_runtime)
    monkeypatch.setenv("LLMKIT_CPU_FEATURES", "avx512_bf16")
    return made


def encoder(folder: Path, **settings) -> LocalEncoder:
    return LocalEncoder(model=str(folder), max_tokens=32, **settings)


def test_wrong_vectors_are_refused_and_auto_falls_back_and_says_so(tmp_path, broken):
    folder = tiny.bert(tmp_path / "m")
    exact = encoder(folder, runtime="onnxruntime").encode_passages(["cold water"])
    broken.names = {("openvino", "bf16")}
    with pytest.raises(UnsupportedPrecision, match=r"computes wrong results .* Set precision to f32 or auto"):
        encoder(folder, precision="bf16").encode_passages(["cold water"])
    with pytest.warns(
        RuntimeWarning, match=r"runs on openvino \S+ in f32, because openvino \S+ in bf16 computes wrong"
    ):
        np.testing.assert_allclose(encoder(folder).encode_passages(["cold water"]), exact, atol=1e-5)
    fallen = encoder(folder)
    with pytest.warns(RuntimeWarning):
        assert fallen.identity.endswith("/f32")
    assert fallen.choice.why == "bf16 failed its check"
    assert len(fallen.notes) == 1


def test_every_runtime_that_is_wrong_is_passed_over(tmp_path, broken):
    broken.names = {("openvino", "bf16"), ("openvino", "f32")}
    folder = tiny.bert(tmp_path / "m")
    with pytest.warns(RuntimeWarning):
        assert encoder(folder).choice.runtime == "onnxruntime"
    with pytest.raises(ModelError, match="Set runtime to auto"):
        encoder(folder, runtime="openvino", precision="f32").encode_queries(["pump"])
    broken.names.add(("onnxruntime", "f32"))
    other = tiny.bert(tmp_path / "other", seed=5)
    with pytest.raises(ModelError, match="no runtime can be used on this machine"):
        encoder(other).encode_queries(["pump"])


def test_a_reranker_is_checked_too(tmp_path, broken):
    from test_rerankers_local import classifier

    from llmkit.retrieval.rerankers.local_cross_encoder import LocalCrossEncoder

    classifier(tmp_path)
    settings = {"model": str(tmp_path), "max_tokens": 64}
    exact = LocalCrossEncoder(**settings, runtime="onnxruntime").score(["pump"], ["cold water"]).scores
    broken.names = {("openvino", "bf16")}
    with pytest.raises(UnsupportedPrecision, match="difference"):
        LocalCrossEncoder(**settings, precision="bf16").score(["pump"], ["cold water"])
    auto = LocalCrossEncoder(**settings)
    with pytest.warns(RuntimeWarning, match="bf16 computes wrong results"):
        np.testing.assert_allclose(auto.score(["pump"], ["cold water"]).scores, exact, atol=1e-4)
    assert auto.identity.endswith("/f32")
    assert len(auto.notes) == 1


def test_a_knowledge_base_in_a_precision_that_fails_here_is_served_in_another(tmp_path, broken):
    folder = tiny.bert(tmp_path / "m")
    with KnowledgeBase.create(tmp_path / "kb", encoder=encoder(folder, precision="bf16")) as kb:
        assert kb.identity.endswith("/bf16")
        kb.add([Document("a", "cold water in the tank"), Document("b", "red valve")])
    broken.names = {("openvino", "bf16")}
    for file in (store.home() / "self_checks").iterdir():
        file.unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        with KnowledgeBase.open(tmp_path / "kb") as kb:
            assert kb.encoder.identity.endswith("/f32")
            notes = "; ".join(kb.take_notes())
            assert [hit.document for hit in kb.search("cold water in the tank", k=1, mode="dense")] == ["a"]
        assert "bf16 computes wrong results on this CPU" in notes
        assert "vectors were made by" in notes
    with (
        pytest.raises(UnsupportedPrecision),
        KnowledgeBase.open(tmp_path / "kb", encoder=encoder(folder, precision="bf16")) as kb,
    ):
        _ = kb.encoder


def test_a_verdict_is_kept_for_one_machine_one_runtime_and_one_set_of_weights(tmp_path, broken, monkeypatch):
    folder = tiny.bert(tmp_path / "m")
    for _ in range(3):
        assert encoder(folder).identity.endswith("/bf16")
    assert broken.opened == [("openvino", "bf16")], "the second and third read the verdict"
    monkeypatch.setenv("LLMKIT_CPU_FEATURES", "avx512_bf16 amx_bf16")
    assert encoder(folder).choice.precision == "bf16"
    assert len(broken.opened) == 2, "another CPU"
    tensors = load_file(folder / "model.safetensors")
    tensors["encoder.layer.0.output.dense.bias"] += 1
    save_file(tensors, folder / "model.safetensors")
    assert encoder(folder).choice.precision == "bf16"
    assert len(broken.opened) == 3, "other weights"
    monkeypatch.setattr(selection.Choice, "version", property(lambda _: "0.0"))
    assert encoder(folder).choice.precision == "bf16"
    assert len(broken.opened) == 4, "another version of the runtime"
    ready = encoder(folder, precision="f32")
    ready.encode_queries(["pump"])
    ready.encode_queries(["valve"])
    assert broken.opened[4:] == [("openvino", "f32")], "the check and the use share the loaded graph"


@pytest.mark.parametrize("content", [b"", b"{", b"\x00\xff", b"[]", "other format", "other key", "passed as a number"])
def test_a_damaged_verdict_is_made_again(content):
    calls: list[int] = []

    def measure() -> Agreement:
        calls.append(1)
        return Agreement(True, "cosine 1")

    first = run_check(SUBJECT, measure)
    assert run_check(SUBJECT, measure) == first
    assert len(calls) == 1
    (file,) = (store.home() / "self_checks").iterdir()
    changes = {"other format": {"format": 2}, "other key": {"key": "x"}, "passed as a number": {"passed": 1}}
    if isinstance(content, str):
        content = json.dumps(json.loads(file.read_bytes()) | changes[content]).encode()
    file.write_bytes(content)
    assert read_verdict(SUBJECT) is None
    assert run_check(SUBJECT, measure).passed
    assert len(calls) == 2
    assert read_verdict(SUBJECT) is not None


def test_an_error_is_not_kept_and_a_home_that_cannot_be_written_to_is_no_error():
    def fail() -> Agreement:
        raise ModelError("out of memory")

    with pytest.raises(ModelError, match="out of memory"):
        run_check(SUBJECT, fail)
    assert read_verdict(SUBJECT) is None
    store.home().mkdir(parents=True, exist_ok=True)
    (store.home() / "self_checks").write_text("a file where the folder should be")
    assert run_check(SUBJECT, lambda: Agreement(True, "cosine 1")).passed


def test_many_at_once_write_whole_files():
    with ThreadPoolExecutor(8) as pool:
        made = list(
            pool.map(lambda n: self_check.run_check(SUBJECT, lambda: Agreement(True, f"cosine {n}")), range(64))
        )
    assert all(one.passed for one in made)
    assert [file.suffix for file in (store.home() / "self_checks").iterdir()] == [".json"]
    assert read_verdict(SUBJECT) in made


def test_comparisons_have_limits_for_each_precision_and_refuse_what_is_no_number():
    reference = np.eye(3, dtype=np.float32)
    tilted = reference + np.float32(0.1) * np.roll(reference, 1, axis=1)  # cosine .995
    assert compare_vectors(reference * 7, reference, "f32").passed
    assert not compare_vectors(tilted, reference, "bf16").passed
    assert compare_vectors(tilted, reference, "int8").passed
    assert not compare_vectors(-reference, reference, "int8").passed
    for wrong in (np.full((3, 3), np.nan, np.float32), np.zeros((3, 3), np.float32), reference[:2]):
        assert not compare_vectors(wrong, reference, "int8").passed
    scores = np.array([[9.2], [-4.1]], np.float32)
    assert compare_scores(scores + 0.1, scores, "bf16").passed
    assert not compare_scores(scores + 0.1, scores, "f32").passed
    assert not compare_scores(scores + 3, scores, "int8").passed
    for wrong in (scores * np.nan, scores[:1]):
        assert not compare_scores(wrong, scores, "int8").passed
