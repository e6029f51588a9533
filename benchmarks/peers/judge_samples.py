"""Scores of ragas and inspect-ai for given answers, and how long they take. Runs in the peers' own environment.

    python judge_samples.py SAMPLES.jsonl

A line is {"id", "question", "answer", "answers"}. Prints one JSON object: seconds and means by peer.
"""

import asyncio
import json
import sys
import tempfile
import time


def inspect_ai(rows: list[dict]) -> dict:
    from inspect_ai import Task, eval
    from inspect_ai.dataset import Sample
    from inspect_ai.model import ModelOutput, ModelUsage, get_model
    from inspect_ai.scorer import exact, f1, mean

    outputs = []
    for row in rows:
        output = ModelOutput.from_content("mockllm/model", row["answer"])
        output.usage = ModelUsage(
            input_tokens=1, output_tokens=1, total_tokens=2
        )  # else it asks the network for a tokenizer
        outputs.append(output)
    samples = [Sample(id=row["id"], input=row["question"], target=row["answers"]) for row in rows]
    task = Task(dataset=samples, scorer=[f1(), exact()], metrics=[mean()])
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as logs:
        model = get_model("mockllm/model", custom_outputs=outputs)
        (log,) = eval(task, model=model, display="none", max_samples=1, log_dir=logs)
    seconds = time.perf_counter() - began
    if log.status != "success":
        raise SystemExit(f"inspect-ai: {str(log.error)[:300]}")
    means = {score.name: score.metrics["mean"].value for score in log.results.scores}
    return {"seconds": seconds, "f1": means["f1"], "em": means["exact"]}


def ragas(rows: list[dict]) -> dict:
    from ragas.metrics.collections import RougeScore

    async def scores() -> list[float]:
        metric = RougeScore(rouge_type="rougeL")
        return [(await metric.ascore(reference=row["answers"][0], response=row["answer"])).value for row in rows]

    began = time.perf_counter()
    found = asyncio.run(scores())
    return {"seconds": time.perf_counter() - began, "rougeL": sum(found) / len(found)}


with open(sys.argv[1], encoding="utf-8") as file:
    given = [json.loads(line) for line in file]
result = {}
for peer in (inspect_ai, ragas):
    try:
        result[peer.__name__] = peer(given)
    except ImportError as error:
        result[peer.__name__] = {"missing": str(error)}
print("RESULT " + json.dumps(result))
