"""Speed and memory of LoRA training beside plain peft + transformers Trainer and TRL's SFTTrainer with packing.

    OMP_NUM_THREADS=2 .venv/bin/python benchmarks/lora_speed.py [--data DIR] [--rounds 1] [--steps 4] [--rows FILE]

Same base (SmolLM2-135M-Instruct, dequantised, bfloat16), same examples (questions of NQ with two passages and a short
answer), same 16 examples in an optimiser step, same adapter (rank 16, all linear layers). Each trainer runs in a
process of its own, in turn, round after round; the first step is not timed. Tokens are those of the examples: padding
is not counted as work. Each of those examples has passages of its own; `--rows` takes others, as
`llmkit train answers` writes them, with several questions about the same passages.
`trl` needs `pip install trl` and is left out, and said so, where it is missing.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BATCH, RANK = 16, 16
TRAINERS = ("llmkit", "llmkit-checkpointing", "peft", "peft-fp32", "trl")


def rows(data: Path, count: int) -> list[dict]:
    def read(path):
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as lines:
            return [json.loads(line) for line in lines]

    corpus = read(data / "qa/nq/corpus.jsonl.gz")
    at = {row["id"]: n for n, row in enumerate(corpus)}
    made = []
    for row in read(data / "qa/nq/train.jsonl"):
        place = at[row["relevant"][0]]
        passages = [corpus[place], *(corpus[(place + 7 * n) % len(corpus)] for n in range(1, 1 + len(made) % 3))]
        made.append({"question": row["question"], "passages": passages, "answer": f"{row['answers'][0]} [1]"})
        if len(made) == count:
            return made
    return made


def prepared(path: Path):
    from llmkit.training.adapters.base_model import open_base
    from llmkit.training.lora.chat_template import ChatTemplate
    from llmkit.training.lora.datasets import QuestionRows

    base = open_base("smollm2")
    template = ChatTemplate(base.tokenizer, frozenset(base.ends))
    return base, [template.example(one) for one in QuestionRows(path=str(path)).conversations()]


def report(name: str, tokens: int, times: list[float], losses: list[float]) -> None:
    """The first step warms up; times are ends of steps."""
    per_step = tokens / len(times)
    rate = per_step * (len(times) - 1) / (times[-1] - times[0])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(json.dumps({"trainer": name, "tokens_per_s": round(rate, 1), "peak_mb": round(peak), "losses": losses}))


def ours(path: Path, steps: int, checkpointing: bool) -> None:
    from llmkit.training.adapters.lora_linear import use_lean_forward
    from llmkit.training.checkpoint import Checkpoint
    from llmkit.training.lora.adapter import add_adapter
    from llmkit.training.lora.objective import CrossEntropy, LoraObjective, finetune
    from llmkit.training.lora.recipe import LoraRecipe

    base, examples = prepared(path)
    recipe = LoraRecipe(
        out="none", data=[{"type": "questions", "path": str(path)}], steps=steps, batch=BATCH, rank=RANK,
        checkpointing=checkpointing, warmup=0, lr=2e-4,
    )  # fmt: skip
    model = add_adapter(base.model, recipe)
    use_lean_forward(model)
    times: list[float] = []
    objective = LoraObjective(model, examples, [], recipe, CrossEntropy())
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Checkpoint(Path(folder) / "adapter", {})
        state = finetune(objective, checkpoint, on_step=lambda _: times.append(time.monotonic()))
    report("llmkit-checkpointing" if checkpointing else "llmkit", state.tokens, times, state.losses)


def trainer(path: Path, steps: int, name: str) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, DataCollatorForSeq2Seq, Trainer, TrainerCallback, TrainingArguments

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    base, examples = prepared(path)
    dtype = torch.float32 if name == "peft-fp32" else torch.bfloat16
    model = AutoModelForCausalLM.from_pretrained(base.folder, dtype=dtype)
    lora = LoraConfig(r=RANK, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    times, losses = [], []

    class Clock(TrainerCallback):
        def on_step_end(self, *_, **__):
            times.append(time.monotonic())

        def on_log(self, _args, _state, _control, logs=None, **__):
            if logs and "loss" in logs:
                losses.append(round(float(logs["loss"]), 4))

    common = {
        "output_dir": "/nonexistent", "max_steps": steps, "learning_rate": 2e-4, "use_cpu": True, "report_to": [],
        "save_strategy": "no", "logging_steps": 1, "disable_tqdm": True, "seed": 0,
    }  # fmt: skip
    if name == "trl":
        from datasets import Dataset
        from trl import SFTConfig, SFTTrainer

        def halves(one):
            seam = one.learned.index(True)
            return {
                "prompt": base.tokenizer.decode(one.ids[:seam]),
                "completion": base.tokenizer.decode(one.ids[seam:]),
            }

        data = Dataset.from_list([halves(one) for one in examples])
        mean = sum(len(one.ids) for one in examples) / len(examples)
        packs = max(1, round(BATCH * mean / 2048))
        settings = SFTConfig(
            **common, packing=True, max_length=2048, per_device_train_batch_size=1, gradient_accumulation_steps=packs,
            completion_only_loss=True, bf16=False, gradient_checkpointing=False,
        )  # fmt: skip
        made = SFTTrainer(
            model=model,
            args=settings,
            train_dataset=data,
            processing_class=base.tokenizer,
            peft_config=lora,
            callbacks=[Clock()],
        )
        tokens = steps * packs * sum(len(row["input_ids"]) for row in made.train_dataset) / len(made.train_dataset)
        made.train()
        report(name, tokens, times, losses)
        return
    model = get_peft_model(model, lora)
    data = [
        {"input_ids": list(one.ids), "attention_mask": [1] * len(one.ids),
         "labels": [token if learned else -100 for token, learned in zip(one.ids, one.learned, strict=True)]}
        for one in examples
    ]  # fmt: skip
    settings = TrainingArguments(**common, per_device_train_batch_size=8, gradient_accumulation_steps=BATCH // 8)
    made = Trainer(
        model=model, args=settings, train_dataset=data, callbacks=[Clock()],
        data_collator=DataCollatorForSeq2Seq(base.tokenizer, padding=True),
    )  # fmt: skip
    made.train()
    report(name, steps * BATCH * sum(len(one.ids) for one in examples) / len(examples), times, losses)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with qa/nq")
    parser.add_argument("--rows", type=Path, help="JSONL of `llmkit train answers`, instead")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", nargs="*", default=list(TRAINERS), choices=TRAINERS)
    parser.add_argument("--child", nargs=2, metavar=("TRAINER", "FILE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        name, path = args.child
        if name.startswith("llmkit"):
            ours(Path(path), args.steps, name.endswith("checkpointing"))
        else:
            trainer(Path(path), args.steps, name)
        return
    import tempfile

    found: dict[str, list[dict]] = {name: [] for name in args.only}
    if "trl" in found and importlib.util.find_spec("trl") is None:
        print("trl is not installed and left out: pip install trl", file=sys.stderr)
        del found["trl"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        if args.rows:
            lines = args.rows.read_text(encoding="utf-8").splitlines(keepends=True)[: BATCH * args.steps]
        else:
            made = rows(args.data or Path(os.environ.get("LLMKIT_DATA", "../shared/data")), BATCH * args.steps)
            lines = [json.dumps(row) + "\n" for row in made]
        path.write_text("".join(lines), encoding="utf-8")
        for n in range(args.rounds):
            for name in found:
                done = subprocess.run(
                    [sys.executable, __file__, "--child", name, str(path), "--steps", str(args.steps)],
                    capture_output=True, text=True, cwd=folder, check=False,
                )  # fmt: skip
                if done.returncode:
                    sys.exit(f"{name} failed:\n{done.stderr[-3000:]}")
                found[name].append(json.loads(done.stdout.splitlines()[-1]))
                print(f"round {n + 1}: {found[name][-1]}", flush=True)
    ours_rate = (
        statistics.median(one["tokens_per_s"] for one in found.get("llmkit", [])) if found.get("llmkit") else None
    )
    for name, runs in found.items():
        rate, peak = (statistics.median(one[key] for one in runs) for key in ("tokens_per_s", "peak_mb"))
        beside = f", llmkit is {ours_rate / rate:.2f}x as fast" if ours_rate else ""
        print(f"{name:<22} {rate:>7.0f} tokens/s  peak {peak:>6.0f} MB{beside}")


if __name__ == "__main__":
    main()
