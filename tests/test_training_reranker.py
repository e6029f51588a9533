"""Training a reranker: it learns, what is saved is what was trained, a killed run goes on, mistakes are told."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import numpy as np
import pytest
from test_rerankers_local import SIZES, WORDS, word_tokenizer

from llmkit.errors import ConfigError, DataError, ModelError
from llmkit.retrieval.rerankers.local_cross_encoder import LocalCrossEncoder
from llmkit.training.data.examples import Example, Passage
from llmkit.training.data.rerank_candidates import Group, candidates_of_examples, is_right
from llmkit.types import Chunk

CONTENT = WORDS[4:]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A tiny random encoder."""
    torch = pytest.importorskip("torch", reason="needs the extra train")
    import transformers

    folder = tmp_path_factory.mktemp("base")
    torch.manual_seed(0)
    config = transformers.BertConfig(**SIZES, pad_token_id=0)
    transformers.BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    word_tokenizer(folder)
    return folder


def groups(n, seed, *, signal=True):
    """The right passage holds the question's word; the retriever's scores are noise. Without signal, any is right."""
    chance = random.Random(seed)
    made = []
    for i in range(n):
        words = chance.sample(CONTENT, 5)
        passages = [f"{word} {chance.choice(CONTENT[:2])}" for word in words]
        right = 0 if signal else chance.randrange(5)
        order = chance.sample(range(5), 5)
        made.append(
            Group(
                words[0],
                tuple(passages[j] for j in order),
                tuple(j == right for j in order),
                np.array([chance.random() for _ in order], dtype=np.float32),
                True,
                str(i),
                f"row {i}",
            )
        )
    return made


def recipe(base, out, **changes):
    from llmkit.training.reranker.recipe import RerankerRecipe

    values = {
        "recipe": "reranker", "out": out, "data": {"type": "mined", "path": "none"}, "base": str(base),
        "max_tokens": 32, "prior": 1.0, "batch": 8, "negatives": 4, "epochs": 8, "lr": 3e-3, "head_lr": 1e-2,
        "embeddings": "trained", "precision": "f32", "patience": 12, "threads": 1, **changes,
    }  # fmt: skip
    return RerankerRecipe.model_validate(values)


@pytest.mark.slow
def test_it_learns_and_serves_what_it_learnt(base, tmp_path):
    from llmkit.training.reranker.ranking import mrr
    from llmkit.training.reranker.train import ServedReranker, train

    done = train(recipe(base, tmp_path / "out", weights_dtype="f32"), groups(160, 1), groups(40, 2))
    assert done.before < 0.6
    assert done.after > done.before + 0.2
    held_out = groups(40, 3)
    served = ServedReranker(done.folder).scores(held_out)
    assert mrr(held_out, served) > mrr(held_out, [group.prior for group in held_out]) + 0.1
    card = json.loads((done.folder / "reranker.json").read_text())
    assert card["pooling"] == "mean"
    assert not list(tmp_path.glob("*.safetensors")), "checkpoints are left behind"


@pytest.mark.slow
@pytest.mark.parametrize("lora", [None, {"rank": 4, "alpha": 8}])
def test_torch_and_the_torch_free_runtime_agree_on_what_was_trained(base, tmp_path, lora):
    from llmkit.training.reranker.cross_encoder import CrossEncoder

    asked = recipe(
        base, tmp_path / "out", lora=lora, weights="changed" if lora else "full", weights_dtype="f32", layers=2,
        embeddings="frozen",
    )  # fmt: skip
    net = CrossEncoder(asked)
    import torch

    torch.manual_seed(1)
    with torch.no_grad():
        for _, one in net.named():
            one.add_(torch.randn_like(one) * 0.3)
    some = groups(10, 4)
    queries = [group.query for group in some for _ in group.passages]
    passages = [passage for group in some for passage in group.passages]
    net.train(False)
    with torch.no_grad():
        expected = net.score(queries, passages, "f32").numpy()
    net.save(tmp_path / "out")
    served = LocalCrossEncoder(model=str(tmp_path / "out"), precision="f32")
    np.testing.assert_allclose(served.score(queries, passages).scores, expected, atol=1e-3)
    assert expected.std() > 0.05
    if lora:
        assert not (tmp_path / "out" / "model.safetensors").exists()
        from safetensors.torch import load_file, save_file

        delta = load_file(tmp_path / "out" / "delta.safetensors")
        save_file(delta, tmp_path / "out" / "delta.safetensors", {"base": str(base), "base_sha256": "0" * 64})
        with pytest.raises(ModelError, match="was trained on"):
            LocalCrossEncoder(model=str(tmp_path / "out"), precision="f32").score(["a"], ["b"])


@pytest.mark.slow
def test_a_killed_run_goes_on_and_ends_where_the_whole_one_ends(base, tmp_path, monkeypatch):
    from llmkit.training.reranker import train as reranker

    whole = reranker.train(recipe(base, tmp_path / "a", epochs=2, checkpoint_every=5), groups(80, 1), groups(16, 2))

    class Killed(BaseException):
        pass

    def stop(report):
        if report.step == 10:
            raise Killed

    asked = recipe(base, tmp_path / "b", epochs=2, checkpoint_every=5)
    with pytest.raises(Killed):
        reranker.train(asked, groups(80, 1), groups(16, 2), on_step=stop)
    assert (tmp_path / "b.training" / "checkpoint.safetensors").exists()
    notes = []
    second = reranker.train(asked, groups(80, 1), groups(16, 2), note=notes.append)
    assert notes[0].startswith("continuing after step 10 of the training in")
    np.testing.assert_allclose(second.state.losses, whole.state.losses, rtol=1e-3)
    with pytest.raises(Killed):
        reranker.train(asked, groups(80, 1), groups(16, 2), on_step=stop)
    with pytest.raises(
        DataError,
        match=r"other settings: checkpoint|other settings: epochs was 2 and is 8; lr was 0\.003 and is 0\.0001",
    ):
        reranker.train(recipe(base, tmp_path / "b", lr=1e-4), groups(80, 1), groups(16, 2))


@pytest.mark.slow
def test_a_loss_that_is_no_number_stops_and_says_where(base, tmp_path):
    from llmkit.training.reranker.train import train

    with pytest.raises(
        DataError, match=r"the (loss|gradient) is (nan|inf), not a finite number, at step \d+ .*rows are row"
    ):
        train(recipe(base, tmp_path / "out", lr=1e20, head_lr=1e20, clip=1e30), groups(80, 1), groups(16, 2))
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.txt").write_text("mine")
    with pytest.raises(DataError, match="not a trained reranker"):
        train(recipe(base, tmp_path / "taken"), groups(80, 1), groups(16, 2))
    with pytest.raises(DataError, match=r"too few .*llmkit train mine"):
        train(recipe(base, tmp_path / "out"), groups(4, 1), groups(16, 2))


@pytest.mark.slow
def test_that_nothing_helped_is_told(base, tmp_path):
    from llmkit.training.reranker.train import ServedReranker, train

    notes, dev = [], groups(16, 2)
    perfect = [replace(group, prior=np.array(group.right, dtype=np.float32)) for group in dev]
    done = train(recipe(base, tmp_path / "out", epochs=1), groups(80, 1), perfect, note=notes.append)
    assert (done.state.best_step, done.before) == (0, 1.0)
    assert (
        notes[-1] == "no evaluation was better than the retriever alone: the saved reranker ranks as the retriever does"
    )
    orders = [np.argsort(-scores, kind="stable")[0] for scores in ServedReranker(done.folder).scores(perfect)]
    assert [group.right[first] for group, first in zip(perfect, orders, strict=True)] == [True] * 16


@pytest.mark.slow
def test_shuffled_labels_are_refused_by_the_gate(base, tmp_path):
    from llmkit.training.reranker.ranking import reciprocal_ranks
    from llmkit.training.reranker.train import ServedReranker, train
    from llmkit.training.significance_gate import judge

    test = groups(100, 9)
    old = reciprocal_ranks(test, [group.prior for group in test])
    for seed in range(3):
        asked = recipe(base, tmp_path / f"out-{seed}", seed=seed, epochs=2)
        done = train(asked, groups(80, 10 + seed, signal=False), groups(16, 20 + seed, signal=False))
        assert not judge(old, reciprocal_ranks(test, ServedReranker(done.folder).scores(test))).adopted


def test_mistakes_in_a_recipe_are_told(tmp_path):
    from llmkit.training.reranker.recipe import load_recipe

    shipped = load_recipe("train-reranker", ["data.path=x"])
    assert shipped.lora is not None
    with pytest.raises(ConfigError, match="last-N"):
        load_recipe("train-reranker", ["train=top"])
    with pytest.raises(ConfigError, match="set lora"):
        load_recipe("train-reranker", ["lora=null"])


def test_what_is_right_and_what_cannot_be_learnt_from():
    one = Example("q", (Passage("the pump leaks", id="doc"),), (Passage("cold water"),))
    assert is_right(Chunk("doc", 3, 0, 4, "else", 1), one)
    assert is_right(Chunk("other", 0, 0, 4, "see: the pump leaks today", 1), one)
    assert not is_right(Chunk("other", 0, 0, 4, "cold water", 1), one)
    found = candidates_of_examples([one, Example("q2", (Passage("x"),))], 10)
    assert [group.right for group in found.groups] == [(True, False)]
    assert found.left["examples without negatives"] == 1
