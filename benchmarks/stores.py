"""llmkit beside LangChain's FAISS, Chroma, LanceDB, Qdrant's local mode and usearch: same vectors, same filters.

    make benchmarks/.venv/stores.stamp && python benchmarks/stores.py --size 100000

Vectors are made of real ones: 1,905 passages of Natural Questions, encoded by MiniLM. A row is a point between a
passage and one of its ten nearest, moved by a normal step a quarter as long as the difference of two nearest passages
and with the covariance of such differences. Queries are its dev questions; llmkit, which certifies the recall of its
index on held-out questions, is given 1,000 of its train questions for that, as its encoder would make them of texts.
Each store works in processes of its own, in
rounds that are interleaved; figures are medians. A store takes the first of its settings whose recall@10 is at least
0.95, so that times are compared at like recall; what its default finds is reported too. Crash: a process that adds 2 %
is killed at random; then the store is opened and rows are searched by their own vectors.
"""

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "peers"))
sys.path.insert(0, str(HERE))
from retrieval import rows as read_rows

MORE = 0.02  # rows added in the second write


def make_data(folder, size, data):
    """vectors, texts, shelves, queries and the true nearest rows by filter."""
    from llmkit.encoders.local import LocalEncoder

    encoder = LocalEncoder()
    passages = [row["text"] for row in read_rows(data / "qa/nq/corpus.jsonl.gz")]
    passages = list(dict.fromkeys(text[:400] for text in passages if text.strip()))
    asked = [row["question"] for row in read_rows(data / "qa/nq/dev.jsonl")]
    real, queries = encoder.encode_passages(passages), encoder.encode_queries(asked)
    chance = np.random.default_rng(7)
    near = np.argsort(-(real @ real.T), axis=1)[:, 1:11]
    total = size + int(MORE * size)
    base = chance.integers(0, len(real), total)
    other = near[base, chance.integers(0, 10, total)]
    steps = real[near[:, 0]] - real
    shape = np.linalg.cholesky(np.cov(steps.T) + 1e-6 * np.eye(real.shape[1])).astype(np.float32)
    part = chance.random((total, 1), dtype=np.float32) * 0.5
    vectors = real[base] * (1 - part) + real[other] * part
    for at in range(0, total, 10000):
        some = vectors[at : at + 10000]
        some += 0.25 * chance.standard_normal(some.shape, dtype=np.float32) @ shape.T
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    shelves = chance.integers(0, 100, total)
    texts = [f"{passages[b][:160]} Copy {n}." for n, b in enumerate(base)]
    np.save(folder / "vectors.npy", vectors.astype(np.float32))
    np.save(folder / "shelves.npy", shelves)
    np.save(folder / "queries.npy", queries)
    others = [row["question"] for row in read_rows(data / "qa/nq/train.jsonl")][:1000]
    np.save(folder / "others.npy", encoder.encode_queries(others))
    (folder / "texts.json").write_text(json.dumps(texts))
    scores = queries @ vectors[:size].T
    masks = {"none": np.ones(size, bool), "1%": shelves[:size] == 7, "50%": shelves[:size] % 2 == 0}
    truth = {name: np.argsort(-np.where(mask, scores, -2), axis=1)[:, :10] for name, mask in masks.items()}
    np.savez(folder / "truth.npz", **truth)
    nearest = np.sort(scores, axis=1)[:, -1]
    return {
        "rows": size,
        "dim": real.shape[1],
        "queries": len(queries),
        "cosine of a query and its nearest row": round(float(nearest.mean()), 3),
        "of a query and its nearest real passage": round(float((queries @ real.T).max(axis=1).mean()), 3),
    }


class Runner:
    """Starts a store's process."""

    def __init__(self, peers, data, size):
        self.peers, self.data = peers, data
        self.environment = {**os.environ, "STORES_SIZE": str(size), "OMP_NUM_THREADS": "2",
                            "PYTHONPATH": str(HERE.parent), "ANONYMIZED_TELEMETRY": "False"}  # fmt: skip

    def command(self, name, action, folder, *rest):
        python = sys.executable if name == "llmkit" else self.peers
        return [str(one) for one in (python, HERE / "peers/stores.py", name, action, self.data, folder, *rest)]

    def run(self, name, action, folder, *rest):
        """The result, or {"error": ...}."""
        command = self.command(name, action, folder, *rest)
        try:
            done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=300)
        except subprocess.TimeoutExpired:
            return {"error": "took more than 300 s"}
        if done.returncode:
            said = done.stderr.strip().splitlines() or [f"ended with {done.returncode}"]
            return {"error": said[-1][:200]}
        return json.loads(done.stdout.strip().splitlines()[-1])

    def kill(self, name, folder, after):
        """Add rows, and die `after` seconds into it."""
        with subprocess.Popen(self.command(name, "more", folder), env=self.environment, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True) as child:  # fmt: skip
            child.stdout.readline()
            time.sleep(after)
            child.kill()


def crash(runner, name, good, scratch, kills):
    """What opens after a writer was killed: whole, wrong, or not at all."""
    trial = scratch / f"{name}-trial"
    shutil.copytree(good, trial)
    began = runner.run(name, "more", trial)
    if "error" in began:
        return began
    chance, found = random.Random(11), {"whole": 0, "wrong answers": 0, "not opened": 0}
    for _ in range(kills):
        shutil.rmtree(trial)
        shutil.copytree(good, trial)
        runner.kill(name, trial, chance.random() * began["seconds"])
        seen = runner.run(name, "look", trial)
        found["not opened" if "error" in seen else "wrong answers" if seen["wrong"] > 3 else "whole"] += 1
        if "error" in seen:
            found["said"] = seen["error"]
    shutil.rmtree(trial)
    return found


def middle(results, *path):
    """The median of a figure over the rounds; None where no round has it."""
    values = []
    for one in results:
        for key in path:
            one = one.get(key) if isinstance(one, dict) else None
        if one is not None:
            values.append(one)
    return statistics.median(values) if values else None


def table(found, names):
    """Markdown."""

    def cell(value, form):
        return "—" if value is None else format(value, form)

    heads = (
        "store | build s | open s | no filter: p50 / p95 ms (recall) | 1 % filter | 50 % filter | RSS MB | disk MB | "
        "delete 1 % s | came back | killed while adding: whole / wrong / not opened"
    )
    lines = [f"| {heads} |", "|" + "---|" * (heads.count("|") + 1)]
    for name in names:
        one = found[name]
        searches = []
        for kind in ("none", "1%", "50%"):
            path = ("filters", kind)
            p50, p95, recall = (middle(one["query"], *path, key) for key in ("p50_ms", "p95_ms", "recall"))
            first = middle(one["query"], *path, "default", "recall")
            more = f"; by default {first:.2f}" if first is not None and first < recall - 0.005 else ""
            searches.append("—" if p50 is None else f"{p50:.2f} / {p95:.2f} ({recall:.3f}{more})")
        back = one["look"].get("came_back")
        fates = [one["crash"].get(key) for key in ("whole", "wrong answers", "not opened")]
        cells = [
            name,
            cell(middle(one["build"], "seconds"), ".1f"),
            cell(middle(one["query"], "open_s"), ".2f"),
            *searches,
            cell(middle(one["query"], "memory_mb", "after queries", "VmRSS"), ".0f"),
            cell(middle(one["build"], "disk_mb"), ".0f"),
            cell(one["delete"].get("seconds"), ".2f"),
            "—" if back is None else f"{back} of {one['look']['asked']}",
            "—" if None in fates else " / ".join(map(str, fates)),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--size", type=int, default=100_000)
    arguments.add_argument("--rounds", type=int, default=3, help="of queries; stores are built once")
    arguments.add_argument("--kills", type=int, default=5)
    arguments.add_argument("--stores", default="llmkit,langchain,chroma,lancedb,qdrant,usearch")
    arguments.add_argument("--peers", default=str(HERE / ".venv/bin/python"))
    arguments.add_argument("--out", type=Path, help="JSON of everything measured")
    arguments.add_argument(
        "--data", type=Path, default=os.environ.get("LLMKIT_DATA") or HERE.parent.parent / "shared" / "data"
    )
    given = arguments.parse_args()
    names = given.stores.split(",")
    scratch = Path(tempfile.mkdtemp(prefix="llmkit-stores-"))
    data = scratch / "data"
    data.mkdir()
    try:
        about = make_data(data, given.size, Path(given.data))
        print(json.dumps(about), flush=True)
        runner = Runner(given.peers, data, given.size)
        found = {name: {"build": [], "query": [], "delete": {}, "look": {}, "crash": {}} for name in names}

        def note(name, what, result):
            print(f"{time.strftime('%H:%M:%S')} {name:<10} {what:<7} {json.dumps(result)[:400]}", flush=True)
            return result

        for name in names:
            found[name]["build"].append(note(name, "build", runner.run(name, "build", scratch / name)))
        for _ in range(given.rounds):
            for name in names:
                found[name]["query"].append(note(name, "query", runner.run(name, "query", scratch / name)))
        for name in names:
            if given.kills:
                found[name]["crash"] = note(name, "crash", crash(runner, name, scratch / name, scratch, given.kills))
            found[name]["delete"] = note(name, "delete", runner.run(name, "delete", scratch / name))
            found[name]["look"] = note(name, "look", runner.run(name, "look", scratch / name, 7))
            shutil.rmtree(scratch / name)
        result = {"about": about, "rounds": given.rounds, "kills": given.kills, "stores": found}
        if given.out:
            given.out.write_text(json.dumps(result, indent=1) + "\n")
        print(f"\n{given.size} vectors of {about['dim']}, medians of {given.rounds} rounds\n\n{table(found, names)}")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    main()
