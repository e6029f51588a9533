"""SideTokenizer a second and peak memory of training: llmkit's loop beside the plain trainer of sentence-transformers.

    python benchmarks/training_speed.py [--steps 6] [--batch 32] [--rounds 3]

Both start from MiniLM, see the same batches of NQ questions and passages in the same order, with the same loss
(in-batch negatives, scale 20), optimizer and learning rate, no dropout. Each run is a process of its own, ours and
theirs in turn; the median is shown. Tokens are those of the texts, without padding. `plain` is what a user writes:
SentenceTransformerTrainer with MultipleNegativesRankingLoss in float32; `plain-bf16` the same with bf16=True;
`ours-all` trains the word embeddings too, as the plain trainer does; `ours` is the shipped recipe (they are frozen).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent


def batches(steps: int, batch: int):
    from llmkit import config
    from llmkit.training.data import load
    from llmkit.training.retriever.batching import epoch_batches
    from llmkit.training.retriever.recipe import RetrieverRecipe

    data = Path(os.environ.get("LLMKIT_DATA") or HERE.parent / "shared" / "data") / "qa" / "nq"
    source = {"type": "qa", "path": str(data), "questions": "train.jsonl"}
    values = {"recipe": "retriever", "out": "unused", "data": source, "batch": batch, "hard_negatives": 0}
    recipe = config.Config(values).build(RetrieverRecipe)
    examples = load.read(recipe.data.examples()).examples
    return recipe, examples, epoch_batches(examples, recipe, 0)[:steps]


def ours(steps: int, batch: int, embeddings: str) -> dict:
    import torch

    from llmkit import cpu, weights
    from llmkit.training.loop import accumulate, peak_mb
    from llmkit.training.retriever import losses
    from llmkit.training.retriever.batching import targets
    from llmkit.training.retriever.bi_encoder import BiEncoder, SideTokenizer
    from llmkit.training.retriever.gradcache import loss_parts

    recipe, _, chosen = batches(steps + 1, batch)
    recipe = recipe.model_copy(update={"embeddings": embeddings})
    torch.set_num_threads(cpu.threads())
    base = weights.find("minilm")
    model, tokens = BiEncoder(base, recipe), SideTokenizer(base, recipe)
    optimizer = torch.optim.AdamW(model.trainable().values(), lr=recipe.lr)
    count, seen = 0, []
    for number, one in enumerate(chosen):
        if number == 1:
            started, count = time.monotonic(), 0  # the first step warms up
        right = targets(one, recipe, "cpu")
        queries = tokens("query", [e.query for e in one.examples])
        passages = tokens("passage", [p.indexed_text for p in one.passages])
        optimizer.zero_grad()
        parts = loss_parts(model, queries, passages, lambda q, p: losses.ranking_loss(q, p, right, recipe))  # noqa: B023
        seen.append(accumulate(parts)[0])
        torch.nn.utils.clip_grad_norm_(list(model.trainable().values()), 1.0)
        optimizer.step()
        count += sum(map(len, queries)) + sum(map(len, passages))
    return {"rate": count / (time.monotonic() - started), "peak_mb": peak_mb(), "losses": seen}


def plain(steps: int, batch: int, bf16: bool) -> dict:
    import torch
    from datasets import Dataset
    from datasets.table import InMemoryTable
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.losses import MultipleNegativesRankingLoss
    from transformers import TrainerCallback

    from llmkit import cpu, weights
    from llmkit.training.loop import peak_mb
    from llmkit.training.retriever.bi_encoder import SideTokenizer

    recipe, _, chosen = batches(steps + 1, batch)
    torch.set_num_threads(cpu.threads())
    tokens = SideTokenizer(weights.find("minilm"), recipe)
    pairs = [
        (e.query, one.passages[own].indexed_text)
        for one in chosen
        for e, own in zip(one.examples, one.own, strict=True)
    ]
    counted = pairs[len(chosen[0].examples) :]
    count = sum(len(t) for side, at in (("query", 0), ("passage", 1)) for t in tokens(side, [p[at] for p in counted]))  # type: ignore[arg-type]
    model = SentenceTransformer(str(weights.find("minilm")), device="cpu")
    model.max_seq_length = recipe.max_tokens
    for name in ("hidden_dropout_prob", "attention_probs_dropout_prob"):
        setattr(model[0].auto_model.config, name, 0.0)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    clock, seen = [], []

    class Watch(TrainerCallback):
        def on_step_end(self, args, state, control, **_):
            clock.append(time.monotonic())

        def on_log(self, args, state, control, logs=None, **_):
            if logs and "loss" in logs:
                seen.append(logs["loss"])

    class InOrder(SentenceTransformerTrainer):
        def get_batch_sampler(self, dataset, batch_size, drop_last, **_):
            return torch.utils.data.BatchSampler(torch.utils.data.SequentialSampler(dataset), batch_size, drop_last)

    with tempfile.TemporaryDirectory() as folder:
        arguments = SentenceTransformerTrainingArguments(
            output_dir=folder, num_train_epochs=1, per_device_train_batch_size=batch, learning_rate=recipe.lr,
            lr_scheduler_type="constant", weight_decay=0.01, bf16=bf16, use_cpu=True, save_strategy="no", report_to=[],
            logging_steps=1, disable_tqdm=True, max_grad_norm=1.0,
        )  # fmt: skip
        data = Dataset(
            InMemoryTable.from_pydict({"anchor": [q for q, _ in pairs], "positive": [p for _, p in pairs]}),
            fingerprint="pairs",  # given, so that nothing is pickled to make one
        )
        loss = MultipleNegativesRankingLoss(model, scale=recipe.scale)
        InOrder(model=model, args=arguments, train_dataset=data, loss=loss, callbacks=[Watch()]).train()
    return {"rate": count / (clock[-1] - clock[0]), "peak_mb": peak_mb(), "losses": seen}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--steps", type=int, default=6)
    arguments.add_argument("--batch", type=int, default=32)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--arms", default="ours,ours-all,plain,plain-bf16")
    arguments.add_argument("--one", help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.one:
        if given.one.startswith("ours"):
            found = ours(given.steps, given.batch, "trained" if given.one == "ours-all" else "frozen")
        else:
            found = plain(given.steps, given.batch, given.one == "plain-bf16")
        print(json.dumps(found))
        return
    results: dict[str, list[dict]] = {arm: [] for arm in given.arms.split(",")}
    for _ in range(given.rounds):
        for arm, found in results.items():
            command = [sys.executable, __file__, "--one", arm, "--steps", str(given.steps), "--batch", str(given.batch)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(f"{arm} failed:\n{done.stderr[-2000:]}")
            found.append(json.loads(done.stdout.splitlines()[-1]))
            print(f"  {arm}: {found[-1]['rate']:.0f} tokens/s", flush=True)
    for arm, found in results.items():
        rates = [one["rate"] for one in found]
        ratios = [r / p["rate"] for r, p in zip(rates, results.get("plain", found), strict=True)]
        loss = statistics.mean(found[0]["losses"])
        print(f"{arm:11} {statistics.median(rates):6.0f} tokens/s, {statistics.median(ratios):.2f} x plain (by round: "
              f"{', '.join(f'{r:.2f}' for r in ratios)}), peak {max(one['peak_mb'] for one in found):.0f} MB, "
              f"mean loss {loss:.4f}")  # fmt: skip


if __name__ == "__main__":
    main()
