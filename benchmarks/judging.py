"""Our metrics and the harness beside inspect-ai and ragas, on the same answers to the same questions.

    python benchmarks/judging.py --peers PYTHON [--count 1000]

PYTHON is an interpreter with inspect-ai, ragas and rouge-score. The answers are made here, some right, some with words
around them, some wrong; each has one right answer, which is all that ragas takes.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import tempfile
import time
from pathlib import Path

from llmkit import config
from llmkit.evaluation.runs.plan import plan
from llmkit.evaluation.runs.run import evaluate
from llmkit.evaluation.tasks.task import Task
from llmkit.pipeline import Pipeline

WORDS = "river old bridge of Bern was built in 1887 by engineers and two sons near town hall".split()  # no bare article


def answers(count: int) -> list[dict]:
    chance = random.Random(5)
    rows = []
    for n in range(count):
        right = " ".join(chance.sample(WORDS, chance.randint(1, 5)))
        around = " ".join(chance.sample(WORDS, 4))
        answer = chance.choice([right, f"It is {right}.", f"{around} {right}", around, f"{right.title()}!"])
        rows.append({"id": str(n), "question": f"Question {n}?", "answers": [right], "answer": answer})
    return rows


def ours(rows: list[dict], folder: Path) -> dict:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    script = folder / "script.jsonl"
    script.write_text("".join(json.dumps(row["answer"]) + "\n" for row in rows))
    values = {
        "name": "j",
        "dataset": {"type": "rows", "path": str(path)},
        "knowledge": "none",
        "metrics": ["answer", "rouge"],
    }
    pipeline = config.Config({"name": "p", "model": f"scripted:@{script}", "steps": ["generate"]}).build(Pipeline)
    planned = plan(pipeline, config.Config(values).build(Task), folder / "runs", cache=False)
    began = time.perf_counter()
    run = evaluate(planned)
    seconds = time.perf_counter() - began
    means = {name: found["mean"] for name, found in run.summary()["metrics"].items()}
    return {"seconds": seconds, **{name: means[name] for name in ("f1", "em", "rougeL")}}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--peers", required=True)
    arguments.add_argument("--count", type=int, default=1000)
    arguments.add_argument("--rounds", type=int, default=3)
    given = arguments.parse_args()
    rows = answers(given.count)
    peer = str(Path(__file__).resolve().parent / "peers" / "judge_samples.py")
    for _ in range(given.rounds):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            found = {"llmkit": ours(rows, folder)}
            command = [given.peers, peer, str(folder / "rows.jsonl")]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            line = next((line for line in done.stdout.splitlines() if line.startswith("RESULT ")), None)
            if line is None:
                raise SystemExit(done.stderr[-2000:] or done.stdout[-2000:])
            found |= json.loads(line.removeprefix("RESULT "))
        for system, values in found.items():
            print(f"{system:<12}" + "  ".join(f"{key} {value:.4f}" for key, value in values.items()), flush=True)


if __name__ == "__main__":
    main()
