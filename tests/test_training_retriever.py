"""Training on tiny models: the algebra of the loss, GradCache, resume, bad data, and what is saved."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial

import numpy as np
import pytest
import tiny
import yaml

from llmkit import config
from llmkit.encoders.dual import DualEncoder
from llmkit.errors import ConfigError, DataError, ModelError
from llmkit.knowledge.knowledge_base import KnowledgeBase
from llmkit.training.data.examples import Example, Passage
from llmkit.training.retriever.recipe import RetrieverRecipe, load_recipe
from llmkit.types import Document

torch = pytest.importorskip("torch", reason="needs the extra train")
pytestmark = pytest.mark.slow

from llmkit.training.data import load, mined_format, seen_questions
from llmkit.training.loop import accumulate
from llmkit.training.reranker.cross_encoder import CrossEncoder
from llmkit.training.reranker.recipe import RerankerRecipe
from llmkit.training.retriever import losses
from llmkit.training.retriever.batching import epoch_batches, targets
from llmkit.training.retriever.bi_encoder import BiEncoder, SideTokenizer, micro_batches
from llmkit.training.retriever.gradcache import loss_parts
from llmkit.training.retriever.train import train


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny.bert(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture
def recipe(tmp_path, base):
    tiny.write_pairs(tmp_path / "train.jsonl", tiny.rows(60))
    return {
        "recipe": "retriever", "out": str(tmp_path / "out"), "data": {"type": "pairs", "path": str(tmp_path / "train.jsonl")},
        "base": str(base), "max_tokens": 32, "batch": 16, "epochs": 3, "lr": 0.003, "dev_share": 0.25, "patience": 9,
        "embeddings": "trained", "threads": 1, "precision": "f32", "checkpoint_every": 1,
    }  # fmt: skip


def built(settings, **changes):
    return config.Config({**settings, **changes}).build(RetrieverRecipe)


def examples(count=40):
    return [
        Example(r["question"], (Passage(r["passage"]),), (Passage(f"{r['passage']} oil"),)) for r in tiny.rows(count)
    ]


def test_training_helps_and_what_is_saved_serves_the_same_without_torch(recipe):
    notes, reports = [], []
    done = train(built(recipe), note=notes.append, on_step=reports.append)
    record = done.record
    assert record["served_dev"]["mrr@10"] > record["dev"][0]["mrr@10"] + 0.1
    best = max(row["mrr@10"] for row in record["dev"])
    assert record["served_dev"]["mrr@10"] == pytest.approx(best, abs=0.02)
    assert reports[-1].step == record["steps"]
    assert "right axis" in (done.folder / "loss.svg").read_text()
    assert json.loads((done.folder / "training.json").read_text())["data"] == record["data"]
    with pytest.raises(DataError, match="60 of 60 questions are in the training or dev data"):
        seen_questions.refuse(DualEncoder(model=str(done.folder)), load.read(built(recipe).data.examples()).examples)
    assert not done.folder.with_name("out.training").exists()
    encoder = DualEncoder(model=str(done.folder), precision="f32")
    towers = BiEncoder(done.folder, built(recipe))
    tokens = SideTokenizer(done.folder, built(recipe))
    texts = [row["passage"] for row in tiny.rows(12)]
    cosine = (encoder.encode_passages(texts) * towers.vectors("passage", tokens("passage", texts))).sum(1)
    assert cosine.min() >= 0.9999
    assert encoder.max_tokens == 32
    assert "/32/f32" in encoder.identity
    with KnowledgeBase.create(done.folder.parent / "kb", encoder=encoder) as kb:
        kb.add([Document(str(i), text) for i, text in enumerate(texts)])
        (hits,) = config.build_part("retriever", "dense").retrieve(kb, [tiny.rows(12)[3]["question"]], 3)
    assert len(hits) == 3
    with KnowledgeBase.open(done.folder.parent / "kb") as kb:
        assert kb.encoder.identity == encoder.identity


def test_tensors_missing_or_too_many_in_a_trained_folder_are_errors(recipe):
    from safetensors.numpy import load_file, save_file

    folder = train(built(recipe, epochs=1)).folder
    file = folder / "model.safetensors"
    whole = load_file(file)
    save_file(whole | {"pooler.dense.weight": whole["encoder.layer.0.output.dense.bias"]}, file)
    with pytest.raises(ModelError, match="does not use"):
        DualEncoder(model=str(folder)).encode_queries(["pump"])
    save_file({name: value for name, value in whole.items() if "layer.1.output.dense.bias" not in name}, file)
    with pytest.raises(ModelError, match="has no tensor"):
        DualEncoder(model=str(folder)).encode_queries(["pump"])
    said = json.loads((folder / "retriever.json").read_text())
    (folder / "retriever.json").write_text(json.dumps({**said, "format": 2}))
    with pytest.raises(ModelError, match="format"):
        DualEncoder(model=str(folder)).encode_queries(["pump"])


@pytest.mark.parametrize(
    "changes",
    [
        {"towers": "two", "query_prefix": "what ", "passage_prefix": "the ", "pooling": "cls"},
        {"weights": "changed", "embeddings": "frozen", "train": "last-1", "weights_dtype": "f16"},
        {"weights": "changed", "lora": {"rank": 4}, "embeddings": "frozen"},
        {"lora": {"rank": 4}, "embeddings": "frozen", "dropout": 0.1},
        {"init": "random", "matryoshka": [32, 16], "dim": 16, "symmetric": True},
        {"quantise": "binary", "graph_tokens": 0, "micro_tokens": 64},
        {"quantise": "int8", "hard_negatives": 0, "evaluate_every": 2},
    ],
    ids=lambda changes: next(iter(changes)) + "-" + str(len(changes)),
)
def test_every_way_of_training_is_saved_and_opened(recipe, changes):
    recipe = built(recipe, epochs=1, **changes)
    done = train(recipe)
    served, trained = done.record["served_dev"], max(done.record["dev"], key=lambda row: row["mrr@10"])
    assert served["mrr@10"] == pytest.approx(trained["mrr@10"], abs=0.05)
    files = {path.name for path in done.folder.rglob("*.safetensors")}
    assert files == {"delta.safetensors" if recipe.weights == "changed" else "model.safetensors"}
    encoder = DualEncoder(model=str(done.folder))
    assert encoder.encode_queries(["pump"]).shape == (1, recipe.dim or 32)
    if recipe.weights == "full" and recipe.towers == "shared":
        library = pytest.importorskip("sentence_transformers")
        from transformers import AutoConfig

        assert AutoConfig.from_pretrained(done.folder).model_type == "bert"
        assert library is not None


def test_a_teacher_is_learnt_from_and_missed_where_it_is_missing(recipe, tmp_path):
    with pytest.raises(DataError, match="no example has the scores of a teacher"):
        train(built(recipe, distil="kl"))
    data = [
        Example(one.query, one.positives, one.negatives, scores=(5.0, -5.0) if i % 2 else ())
        for i, one in enumerate(examples(50))
    ]
    mined_format.write(tmp_path / "mined.jsonl", data)
    notes = []
    source = {"type": "mined", "path": str(tmp_path / "mined.jsonl")}
    for distil in ("kl", "margin-mse"):
        settings = built(recipe, out=str(tmp_path / distil), distil=distil, data=source, teacher_scale=0.2, epochs=1)
        assert train(settings, note=notes.append).record["steps"] > 0
    assert any("have no scores of a teacher" in note for note in notes)


def test_gradcache_gives_the_gradient_of_the_whole_batch(recipe, base):
    gradients = []
    for changes in ({"graph_tokens": 100_000}, {"graph_tokens": 0, "micro_tokens": 64}):
        settings = built(recipe, **changes)
        towers, tokens = BiEncoder(base, settings), SideTokenizer(base, settings)
        batch = epoch_batches(examples(), settings, 0)[0]
        right = targets(batch, settings, "cpu")
        queries = tokens("query", [one.query for one in batch.examples])
        passages = tokens("passage", [one.indexed_text for one in batch.passages])
        loss = partial(losses.ranking_loss, targets=right, recipe=settings)
        value, _, _ = accumulate(loss_parts(towers, queries, passages, loss))
        gradients.append((value, {name: v.grad for name, v in towers.trainable().items()}))
    assert gradients[0][0] == pytest.approx(gradients[1][0], abs=1e-5)
    for name, gradient in gradients[0][1].items():
        torch.testing.assert_close(gradient, gradients[1][1][name], atol=1e-5, rtol=1e-3)


def test_no_passage_stands_twice_in_a_batch_and_known_positives_are_masked(recipe):
    shared = Passage("pump water")
    data = [Example(f"q{i}", (shared, Passage(f"p{i}"))) for i in range(8)]
    data += [Example(f"r{i}", (Passage(f"p{i}"),), (shared,)) for i in range(8)]
    settings = built(recipe, batch=6, hard_negatives=1)
    assert epoch_batches(data, settings, 3) == epoch_batches(data, settings, 3)
    for batch in epoch_batches(data, settings, 3):
        keys = [p.key for p in batch.passages]
        assert len(set(keys)) == len(keys)
        masked = targets(batch, settings, "cpu").masked
        for row, example in enumerate(batch.examples):
            known = {p.key for p in example.positives}
            for column, name in enumerate(keys):
                assert bool(masked[row, column]) == (name in known and column != batch.own[row])


def test_losses_say_what_their_papers_say(recipe):
    settings = built(recipe, distil="margin-mse", scale=1.0)
    q, p = torch.eye(3)[:2], torch.eye(3)
    plain = losses.Targets(torch.tensor([0, 1]), torch.zeros((2, 3), dtype=torch.bool))
    expected = -np.log(np.e / (np.e + 2))
    assert float(losses.ranking_loss(q, p, plain, settings)) == pytest.approx(expected, abs=1e-6)
    masked = losses.Targets(plain.own, torch.tensor([[False, True, True], [True, False, True]]))
    assert float(losses.ranking_loss(q, p, masked, settings)) == pytest.approx(0, abs=1e-6)
    rows, asked = torch.tensor([[0, 2]]), torch.tensor([0])
    taught = losses.Targets(masked.own, masked.masked, rows, asked, torch.tensor([[4.0, 1.0]]))
    assert float(losses.ranking_loss(q, p, taught, settings)) == pytest.approx((1 - 3) ** 2, abs=1e-5)
    same = losses.Targets(masked.own, masked.masked, rows, asked, torch.tensor([[1.0, 0.0]]))
    assert float(losses.ranking_loss(q, p, same, built(recipe, distil="kl", scale=1.0))) == pytest.approx(0, abs=1e-6)
    vectors = torch.nn.functional.normalize(torch.randn(50, 16), dim=-1).requires_grad_(True)
    for kind, steps in (("int8", 256), ("binary", 2)):
        codes = losses.straight_through(vectors, kind)
        assert all(len(column.unique()) <= steps for column in codes.detach().round(decimals=6).T)
        (gradient,) = torch.autograd.grad(codes.sum(), vectors)
        assert torch.equal(gradient, torch.ones_like(vectors)), "straight through"


def test_a_killed_training_goes_on_to_the_same_end(recipe, tmp_path):
    """kill -9 in the middle, once it has a checkpoint; dropout on, so that the random state matters."""
    settings = {**recipe, "dropout": 0.1, "epochs": 4}
    whole = train(built(settings, out=str(tmp_path / "whole"))).record
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(settings))
    command = [sys.executable, "-m", "llmkit", "train", "retriever", str(file), "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    checkpoint = tmp_path / "out.training" / "checkpoint.safetensors"
    deadline = time.monotonic() + 100
    while process.poll() is None and time.monotonic() < deadline:
        if checkpoint.is_file():
            from safetensors import safe_open

            with safe_open(checkpoint, framework="np") as content:
                if json.loads(content.metadata()["state"])["step"] >= 3:
                    os.kill(process.pid, signal.SIGKILL)
                    break
        time.sleep(0.01)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "it was to be killed before it ended"
    notes = []
    again = train(built(settings), note=notes.append).record
    assert any("continuing after step" in note for note in notes)
    assert len(again["losses"]) == len(whole["losses"])
    np.testing.assert_allclose(again["losses"], whole["losses"], rtol=1e-3, atol=1e-4)
    assert again["served_dev"] == pytest.approx(whole["served_dev"], abs=0.02)


def test_a_checkpoint_of_another_recipe_is_not_taken(recipe, tmp_path):
    def stop(report):
        if report.step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(built(recipe), on_step=stop)
    with pytest.raises(DataError, match=r"other settings: lr was 0\.003 and is 0\.1\. "):
        train(built(recipe, lr=0.1))
    with (tmp_path / "out.training" / "checkpoint.safetensors").open("r+b") as file:
        file.truncate(2000)
    with pytest.raises(DataError, match=r"cannot be read .*--fresh"):
        train(built(recipe))
    assert train(built(recipe), fresh=True).record["steps"] == 9


def test_a_loss_that_is_no_number_stops_names_the_rows_and_keeps_the_checkpoint(recipe, tmp_path, monkeypatch):
    real, calls = losses.ranking_loss, []

    def broken(*arguments):
        calls.append(1)
        return real(*arguments) * (float("nan") if len(calls) == 4 else 1.0)

    monkeypatch.setattr(losses, "ranking_loss", broken)
    with pytest.raises(
        DataError, match=r"loss is nan, .* at step 4 \(epoch 2, batch 1\), whose rows are train\.jsonl, line \d+"
    ):
        train(built(recipe))
    monkeypatch.undo()
    assert train(built(recipe)).record["steps"] == 9, "goes on from the last good step"


@pytest.mark.skipif(os.name != "posix", reason="needs a limit on the size of files")
def test_a_full_disk_is_one_sentence_and_leaves_the_retriever_that_was_there(recipe, tmp_path):
    import resource

    folder = train(built(recipe, epochs=1)).folder
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
        with pytest.raises(DataError, match=r"cannot be written: .*make room"):
            train(built(recipe, epochs=1, seed=1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before
    assert not list(tmp_path.glob("*.tmp"))


def test_bad_data_is_refused_or_told(recipe, tmp_path):
    dev = tiny.write_pairs(tmp_path / "dev.jsonl", tiny.rows(3, offset=7))
    with pytest.raises(
        DataError, match=r"3 questions of dev are in train.*\n.*dev\.jsonl, line 1 = train train\.jsonl, line 8"
    ):
        train(built(recipe, dev={"type": "pairs", "path": str(dev)}))
    rows = [*tiny.rows(40), {"question": "", "passage": "x"}, {"question": "how many", "passage": "pump " * 200}]
    tiny.write_pairs(tmp_path / "train.jsonl", rows)
    notes = []
    train(built(recipe, epochs=1, dev_share=0.2), note=notes.append)
    assert any("line 41: the question is empty" in note for note in notes)
    assert any("1 passage texts are longer than 32 tokens and are cut there" in note for note in notes)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("dear to me")
    with pytest.raises(DataError, match="not a trained retriever"):
        train(built(recipe, out=str(tmp_path / "mine")))
    tiny.write_pairs(tmp_path / "train.jsonl", [{"question": f"q {i}", "passage": "pump"} for i in range(9)])
    with pytest.raises(DataError):
        train(built(recipe))


def test_bases_that_do_not_fit_are_refused(recipe, tmp_path, base):
    with pytest.raises(ModelError, match="served, not trained"):
        train(built(recipe, base=str(tiny.dpr(tmp_path / "dpr", "query", 0))))
    for changes, message in (
        ({"max_tokens": 64}, "40 positions"),
        ({"matryoshka": [64]}, "at most 32"),
        ({"train": "last-3"}, "has 2 layers"),
    ):
        with pytest.raises(ModelError, match=message):
            BiEncoder(base, built(recipe, **changes))


def test_a_base_that_lacks_weights_is_refused(recipe, tmp_path, base):
    """transformers makes them up, and a training would begin from noise."""
    from safetensors.torch import load_file, save_file

    holed = tmp_path / "holed"
    shutil.copytree(base, holed)
    tensors = load_file(holed / "model.safetensors")
    del tensors[next(name for name in tensors if name.endswith("layer.1.output.dense.weight"))]
    save_file(tensors, holed / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks 1 tensors .*layer\.1\.output\.dense\.weight"):
        BiEncoder(holed, built(recipe, base=str(holed)))
    settings = {"recipe": "reranker", "out": "x", "base": str(holed), "data": recipe["data"]}
    with pytest.raises(ModelError, match="lacks 1 tensors"):
        CrossEncoder(config.Config(settings).build(RerankerRecipe))


def test_the_shipped_recipe_loads_and_mistakes_are_placed(tmp_path, monkeypatch):
    loaded = load_recipe("train-retriever")
    assert loaded.base == "minilm"
    file = tmp_path / "bad.yaml"
    file.write_text("recipe: retriever\nout: x\ndata: {type: pears, path: x}\ntrain: top-3\nepocs: 3\n")
    with pytest.raises(ConfigError) as caught:
        load_recipe(str(file))
    assert "did you mean 'pairs'" in str(caught.value)
    assert "did you mean 'epochs'" in str(caught.value)
    for wrong in (
        {"train": "top-3"},
        {"matryoshka": [64], "dim": 32},
        {"init": "random"},
        {"lora": {}, "train": "last-1"},
    ):
        with pytest.raises(ConfigError):
            config.Config({"recipe": "retriever", "out": "x", "data": {"type": "pairs", "path": "x"}} | wrong).build(
                RetrieverRecipe
            )


def test_micro_batches_hold_every_row_once_within_the_budget():
    ids = [[1] * n for n in (3, 50, 7, 7, 1, 20)]
    seen = []
    for rows in micro_batches(ids, 60):
        assert len(rows) * max(len(ids[row]) for row in rows) <= 60
        seen += rows
    assert sorted(seen) == list(range(6))
