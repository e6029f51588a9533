"""Searching for a better prompt beside DSPy, on the same questions, the same model and the same number of calls.

    python benchmarks/optimise.py --peers PYTHON                     # a model made up here, its best prompt known
    python benchmarks/optimise.py --peers PYTHON --model smollm2     # the offline model behind a real server; hours

PYTHON is an interpreter with benchmarks/peers/requirements-optimise.txt. Everybody speaks to one OpenAI-compatible
server on this machine, which counts. Each result is kept in --out: run the same command again to go on.

The made-up model is right on a question or not, by the question's own luck and a skill: 0.50, and 0.25 more where the
best instruction is in the prompt, and 0.03 more for each of up to four examples. Asked for an instruction, it gives one
of eight in turn, of which one is the best.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import statistics
import subprocess
import tempfile
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from llmkit import config, weights
from llmkit.evaluation.analysis.statistics import mean_interval, paired
from llmkit.experiments.experiment import Experiment
from llmkit.experiments.optimise import outcome as optimise_outcome
from llmkit.experiments.optimise.search import prepare

BEST = "Work from the innermost brackets outwards."
OTHERS = [
    "Reply with True or False.",
    "You are a careful logician.",
    "Answer as a teacher would.",
    "Decide quickly.",
    "Read the expression from left to right.",
    "Explain nothing.",
    "Be sure of your answer.",
]
LABELS = ["True", "False"]


class Server:
    """An OpenAI-compatible server that counts: answers by itself, or passes on to a real one."""

    def __init__(self, truth: dict[str, str], behind: str | None = None) -> None:
        self.truth, self.behind, self.calls, self.proposals = truth, behind, 0, 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                self.send(200, str(outer.calls).encode(), "text/plain")

            def do_POST(self):
                outer.calls += 1
                raw = self.rfile.read(int(self.headers["Content-Length"]))
                if outer.behind:
                    request = urllib.request.Request(
                        outer.behind + self.path.removeprefix("/v1"), raw, {"Content-Type": "application/json"}
                    )
                    with urllib.request.urlopen(request) as reply:
                        self.send(200, reply.read(), reply.headers["Content-Type"])
                    return
                body = json.loads(raw)
                text = outer.reply(body["messages"])
                if body.get("stream"):
                    chunk = {"id": "x", "object": "chat.completion.chunk", "created": 0, "model": "model"}
                    parts = [
                        {
                            **chunk,
                            "choices": [
                                {"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": None}
                            ],
                        },
                        {**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
                    ]
                    lines = "".join(f"data: {json.dumps(part)}\n\n" for part in parts) + "data: [DONE]\n\n"
                    self.send(200, lines.encode(), "text/event-stream")
                    return
                choices = [
                    {"index": n, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
                    for n in range(body.get("n") or 1)
                ]
                words = sum(len(str(message["content"]).split()) for message in body["messages"])
                usage = {"prompt_tokens": words, "completion_tokens": 4, "total_tokens": words + 4}
                found = {
                    "id": "x",
                    "object": "chat.completion",
                    "created": 0,
                    "model": "model",
                    "choices": choices,
                    "usage": usage,
                }
                self.send(200, json.dumps(found).encode(), "application/json")

            def send(self, status, data, kind):
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_port}/v1"

    def reply(self, messages) -> str:
        last = str(messages[-1]["content"])
        wanted = re.findall(r"`\[\[ ## (\w+) ## \]\]`", last.rpartition("Respond with")[2])
        fields = [name for name in wanted if name != "completed"]
        if "proposed_instruction" in fields or last.endswith("New instruction:"):
            self.proposals += 1
            said = [*OTHERS, BEST][(self.proposals * 5) % 8]
        else:
            said = self.answer(messages, last)
        if not fields:
            return said
        told = {"answer": said, "proposed_instruction": said}
        return (
            "".join(f"[[ ## {name} ## ]]\n{told.get(name, 'Boolean expressions.')}\n\n" for name in fields)
            + "[[ ## completed ## ]]"
        )

    def answer(self, messages, last) -> str:
        place, question = max(((last.rfind(one), one) for one in self.truth), key=lambda pair: (pair[0], len(pair[1])))
        if place < 0:
            return "Boolean expressions."
        whole = " ".join(str(message["content"]) for message in messages)
        shown = sum(message["role"] == "assistant" for message in messages)
        luck = int.from_bytes(hashlib.sha256(question.encode()).digest()[:4], "big") / 2**32
        right = luck < 0.5 + 0.25 * (BEST in whole) + 0.03 * min(shown, 4)
        truth = self.truth[question]
        return truth if right else next(one for one in LABELS if one != truth)


def rows(count: int) -> list[dict]:
    path = Path(os.environ.get("LLMKIT_DATA", "../shared/data")) / "tasks/bbh/items.jsonl"
    found = [json.loads(line) for line in path.read_text().splitlines()[:250]]
    return [{"id": str(n), "question": row["input"], "answer": row["target"]} for n, row in enumerate(found[:count])]


def ours(folder: Path, given: argparse.Namespace, seed: int, server: Server) -> tuple[dict, object]:
    values = {
        "name": "beside-dspy",
        "pipeline": str(folder / "p.yaml"),
        "task": str(folder / "t.yaml"),
        "strategy": {
            "type": "optimise", "prompt": "steps.generate.prompt", "rounds": 2, "sets": given.sets,
            "edits": given.edits, "proposals": given.proposals, "examples": given.examples, "learn": 0.2,
            "held_back": 0.4,
        },
        "seed": seed, "block": 4, "epsilon": 0.05,
    }  # fmt: skip
    search = prepare(config.Config(values).build(Experiment), folder / f"runs-{seed}")
    held = 2 * len(search.split.held)
    budget = {"calls": given.calls + held}  # the end, on held-back samples, is no part of the search
    search = prepare(config.Config({**values, "budget": budget}).build(Experiment), folder / f"runs-{seed}")
    before, began = server.calls, time.perf_counter()
    outcome = optimise_outcome.optimise(search, folder=folder / f"prompts-{seed}")
    judged = held if outcome.paired else 0
    scores = {"before": [], "after": []}
    plans = {"before": search.plan, "after": search.plan}
    if outcome.best != "incumbent":
        arm = next(p for s in search.rounds for a, p in zip(s.arms, s.plans, strict=True) if a.name == outcome.best)
        plans["after"] = arm
    from llmkit.experiments.answers import Answers, Spending

    for name, planned in plans.items():
        scores[name] = [float(one) for one in Answers([planned], search.figure, Spending()).of(0, search.split.held)]
    found = {
        **scores, "calls": search.spent.calls - judged, "asked": server.calls - before,
        "seconds": time.perf_counter() - began, "written": outcome.file is not None, "why": outcome.why,
        "instruction": search.made[outcome.best].instruction, "examples": len(search.made[outcome.best].examples),
        "known": search.spent.known,
    }  # fmt: skip
    return found, search


def theirs(folder: Path, given: argparse.Namespace, seed: int, server: Server, name: str, search) -> dict:
    items = {row["id"]: row for row in rows(given.items)}
    part = {
        "train": [items[one] for one in (*search.split.learn, *search.split.raced)],
        "held": [items[one] for one in search.split.held],
    }
    asked = {**part, "url": server.url, "labels": LABELS, "budget": given.calls, "seed": seed, "optimiser": name,
             "examples": given.examples, "tokens": 100}  # fmt: skip
    path = folder / "given.json"
    path.write_text(json.dumps(asked))
    peer = Path(__file__).resolve().parent / "peers" / "optimise_dspy.py"
    done = subprocess.run([given.peers, str(peer), str(path)], capture_output=True, text=True, check=False)
    line = next((line for line in done.stdout.splitlines() if line.startswith("RESULT ")), None)
    if line is None:
        return {"failed": done.stderr[-600:]}
    return json.loads(line.removeprefix("RESULT "))


def real() -> tuple[object, str]:
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(weights.find("smollm2"))
    parameters.n_ctx, parameters.n_parallel, parameters.verbosity, parameters.use_jinja = 8192, 1, -1, True
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = 2
    server = xllamacpp.Server(parameters)
    return server, server.listening_address + "/v1"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", required=True)
    parser.add_argument("--model", choices=["known", "smollm2"], default="known")
    parser.add_argument("--items", type=int, default=200)
    parser.add_argument("--calls", type=int, default=600, help="of the search; the judgement at its end is not counted")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--examples", type=int, default=4)
    parser.add_argument("--sets", type=int, default=3)
    parser.add_argument("--edits", type=int, default=2)
    parser.add_argument("--proposals", type=int, default=4)
    parser.add_argument("--out", type=Path, help="keeps what is done; default: a temporary folder")
    given = parser.parse_args()
    folder = (given.out or Path(tempfile.mkdtemp())).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    items = rows(given.items)
    behind = real() if given.model == "smollm2" else (None, None)
    server = Server({row["question"]: row["answer"] for row in items}, behind[1])
    os.environ["OPENAI_BASE_URL"] = server.url
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in items))
    (folder / "t.yaml").write_text(
        f"name: boolean\ndataset: {{type: rows, path: {folder / 'rows.jsonl'}, question: question, answers: answer}}\n"
        "knowledge: none\nmetrics: [{type: label, labels: ['True', 'False']}]\n"
    )
    (folder / "p.yaml").write_text(
        "name: p\nmodel: {model: 'openai:model', max_tokens: 100}\nsteps: [{type: generate, prompt: generate@v1}]\n"
    )
    results: dict[str, list[dict]] = {}
    for seed in range(given.seeds):
        found, search = ours(folder, given, seed, server)
        kept = folder / f"llmkit-{seed}.json"
        if not kept.exists():  # a second run is answered from what is known, and would count nothing
            kept.write_text(json.dumps(found))
        results.setdefault("llmkit", []).append(json.loads(kept.read_text()))
        for name in ("random-search", "mipro"):
            kept = folder / f"{name}-{seed}.json"
            if not kept.exists():
                kept.write_text(json.dumps(theirs(folder, given, seed, server, name, search)))
            results.setdefault(name, []).append(json.loads(kept.read_text()))
        report(results)


def report(results: dict[str, list[dict]]) -> None:
    print(f"\n{'':14} {'held back':>9}  {'before':>6}  {'difference':>24}  {'calls':>5}  seconds")
    for name, runs in results.items():
        good = [run for run in runs if "failed" not in run]
        if not good:
            print(f"{name:14} failed: {runs[-1]['failed'][-200:]}")
            continue
        after = [value for run in good for value in run["after"]]
        before = [value for run in good for value in run["before"]]
        questions = [str(n) for run in good for n in range(len(run["after"]))]
        span = paired(before, after, questions).difference
        where = f"{span.mean:+.3f} [{span.low:+.3f}, {span.high:+.3f}]" if span.low is not None else ""
        calls, seconds = (statistics.median(run[key] for run in good) for key in ("calls", "seconds"))
        mean = mean_interval(after, questions).mean
        print(f"{name:14} {mean:9.3f}  {statistics.mean(before):6.3f}  {where:>24}  {calls:5.0f}  {seconds:.0f}")
        for run in good:
            written = {True: ", written", False: ", not written"}.get(run.get("written"), "")
            told = f"{run['examples']} examples, {run['instruction'][:80]!r}{written}"
            print(f"  {statistics.mean(run['after']):.3f}  {told}")


if __name__ == "__main__":
    main()
