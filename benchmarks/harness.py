"""What the evaluation harness costs, and whether it keeps its promises.

    python benchmarks/harness.py [overhead] [cached] [memory] [replay] [equals] [coverage] [power] [blame]

Everything runs on a scripted model and documents made here. Without names, all of them.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from llmkit import config
from llmkit.evaluation.analysis import statistics as stats
from llmkit.evaluation.runs.plan import plan
from llmkit.evaluation.runs.run import evaluate
from llmkit.evaluation.tasks.task import Task
from llmkit.pipeline import Pipeline


def rows(folder: Path, count: int) -> Path:
    path = folder / f"rows-{count}.jsonl"
    with path.open("w") as file:
        for n in range(count):
            row = {"id": f"s{n}", "question": f"How many moons has planet {n}? Say it in words.", "answers": ["two"]}
            file.write(json.dumps(row) + "\n")
    return path


def task(path: Path, **changes: object) -> Task:
    dataset = {"type": "rows", "path": str(path)}
    values = {"name": "moons", "dataset": dataset, "knowledge": "none", "metrics": ["answer", "abstention"], **changes}
    return config.Config(values).build(Task)


def pipeline(name: str = "scripted") -> Pipeline:
    return config.Config({"name": name, "model": "scripted:It has two moons.", "steps": ["generate"]}).build(Pipeline)


def overhead(folder: Path) -> None:
    """The harness against the same pipeline in a bare loop, rounds interleaved."""
    count, asked = 1000, pipeline()
    given = task(rows(folder, count))
    questions = [sample.question for sample in given.dataset.samples()]  # type: ignore[union-attr]
    asked.run("warm up")
    bare, judged = [], []
    for n in range(5):
        began = time.perf_counter()
        for question in questions:
            asked.run(question)
        bare.append(time.perf_counter() - began)
        planned = plan(asked, given, folder / f"overhead{n}", cache=True)
        began = time.perf_counter()
        evaluate(planned)
        judged.append(time.perf_counter() - began)
    a, b = statistics.median(bare), statistics.median(judged)
    print(f"overhead: {1000 * (b - a) / count:.2f} ms a sample ({count} samples, bare {a:.2f} s, judged {b:.2f} s)")


def cached(folder: Path) -> None:
    """The same command again, in its own process; and with its folder gone, from the response cache."""
    path, runs = rows(folder, 1000), folder / "cached"
    (folder / "task.yaml").write_text(json.dumps(task(path).config()))
    (folder / "p.yaml").write_text(
        json.dumps({"name": "p", "model": "scripted:It has two moons.", "steps": ["generate"]})
    )
    command = [sys.executable, "-m", "llmkit", "eval", "p.yaml", "--task", "task.yaml", "--runs", str(runs), "--json"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    times = {"same folder": [], "response cache": []}
    for _ in range(3):
        began = time.perf_counter()
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
        times["same folder"].append(time.perf_counter() - began)
        (run,) = (runs / "moons").iterdir()
        for file in run.iterdir():
            file.unlink()
        began = time.perf_counter()
        done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
        times["response cache"].append(time.perf_counter() - began)
        assert json.loads(done.stdout)["tokens"]["cached"] == 1000
    for name, found in times.items():
        print(f"cached rerun of 1,000 samples, whole process, {name}: {statistics.median(found):.2f} s")


def memory(folder: Path) -> None:
    """Resident memory while 20,000 samples pass, and while they are summed up."""
    given = task(rows(folder, 20_000), metrics=["answer"])
    planned = plan(pipeline("memory"), given, folder / "memory", cache=True)
    seen: list[tuple[int, float]] = []

    def look(progress: object) -> None:
        done = progress.done  # type: ignore[attr-defined]
        planned.pipeline.chat_model().inner.calls.clear()  # a scripted model keeps what it was asked
        if done % 2000 == 0:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            seen.append((done, pages * os.sysconf("SC_PAGE_SIZE") / 2**20))

    evaluate(planned, on_progress=look)
    told = ", ".join(f"{done}: {mib:.0f}" for done, mib in seen)
    print(
        f"memory in MiB by samples done: {told}; peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f}"
    )


def replay(folder: Path) -> None:
    """Two hundred traces again, in another process with another hash seed."""
    folder = folder / "replay"
    world(folder / "world", 200)
    asked = reading("scripted:The gadget was made in Bern 1000 [1].")
    run = evaluate(plan(asked, reading_task(folder / "world"), folder / "runs"))
    command = [sys.executable, "-m", "llmkit", "replay", str(run.path)]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONHASHSEED": "99"}, check=False
    )
    print(f"replay in another process: {done.stdout.strip()}")


def equals(folder: Path) -> None:
    """2,000 comparisons of two systems that are equal on average and disagree on some samples."""
    rng = np.random.default_rng(11)
    alarms = {"p < 0.05": 0, "interval excludes 0": 0}
    for _ in range(2000):
        first = scores(rng, 200)
        second = np.where(rng.random(200) < 0.3, scores(rng, 200), first)
        found = stats.paired(first, second)
        alarms["p < 0.05"] += found.p < 0.05
        low, high = found.difference.low, found.difference.high
        alarms["interval excludes 0"] += low is not None and high is not None and not low <= 0 <= high
    for name, count in alarms.items():
        low, high = stats.wilson(count, 2000)
        print(f"2,000 comparisons of equals, {name}: {count / 2000:.3f} [{low:.3f}, {high:.3f}]")


def coverage(folder: Path) -> None:
    """How often 95 % intervals hold the truth, 2,000 draws each."""
    rng = np.random.default_rng(13)

    def clustered(groups: int) -> tuple[np.ndarray, list[str]]:
        sizes = rng.integers(1, 9, groups)
        values = [(rng.random(size) < p).astype(float) for size, p in zip(sizes, rng.beta(2, 2, groups), strict=True)]
        return np.concatenate(values), [str(g) for g, size in enumerate(sizes) for _ in range(size)]

    kinds = {
        "0 or 1, n=300": (lambda: ((rng.random(300) < 0.6).astype(float), None), 0.6),
        "F1-like, n=100": (lambda: (scores(rng, 100), None), 0.475),
        "F1-like, n=300": (lambda: (scores(rng, 300), None), 0.475),
        "37 clusters": (lambda: clustered(37), 0.5),
        "150 clusters": (lambda: clustered(150), 0.5),
    }
    for name, (draw, truth) in kinds.items():
        held = 0
        for _ in range(2000):
            found = stats.mean_interval(*draw())
            held += found.low is not None and found.high is not None and found.low <= truth <= found.high
        print(f"coverage, {name}: {held / 2000:.3f}")


def power(folder: Path) -> None:
    """A planted drop of 5 points, at the size for which a power of 0.8 is announced."""
    rng = np.random.default_rng(17)
    n = next(n for n in range(100, 5000) if stats.detectable(n) <= 0.05)
    found = 0
    for _ in range(1000):
        z = rng.random(n)
        difference = np.where(z < 0.15125, -1.0, np.where(z < 0.2525, 1.0, 0.0))
        found += stats.paired(np.zeros(n), difference).p < 0.05
    low, high = stats.wilson(found, 1000)
    print(f"power for a drop of 5 points at n={n}, announced 0.8: {found / 1000:.3f} [{low:.3f}, {high:.3f}]")


def scores(rng: np.random.Generator, n: int) -> np.ndarray:
    """Many zeros, many ones, some between: mean 0.475."""
    kind = rng.random(n)
    return np.where(kind < 0.4, 0.0, np.where(kind < 0.75, 1.0, rng.beta(2, 2, n)))


def world(folder: Path, count: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "corpus.jsonl").open("w") as corpus, (folder / "questions.jsonl").open("w") as questions:
        for n in range(count):
            text = f"The gadget g{n} is blue. The gadget g{n} was made in Bern {1000 + n}. It weighs little."
            corpus.write(json.dumps({"id": f"d{n}", "title": f"Gadget g{n}", "text": text}) + "\n")
            row = {"id": f"q{n}", "question": f"Where was the gadget g{n} made?", "relevant": [f"d{n}"]}
            questions.write(json.dumps({**row, "answers": [f"Bern {1000 + n}"]}) + "\n")


def reading(model: str) -> Pipeline:
    steps = [{"type": "retrieve", "k": 3}, "answer", "ground"]
    return config.Config({"name": "reading", "model": model, "steps": steps}).build(Pipeline)


def reading_task(folder: Path) -> Task:
    dataset = {"type": "qa", "path": str(folder)}
    values = {"name": "world", "dataset": dataset, "encoder": "hashing", "metrics": ["answer"], "primary": "contains"}
    return config.Config(values).build(Task)


def blame(folder: Path) -> None:
    """Faults put in at every stage, 50 of each: the tests of the harness with more samples."""
    test = Path(__file__).resolve().parent.parent / "tests" / "test_evaluation_blame.py"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(test)]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "LLMKIT_FAULTS": "50"}, check=False
    )
    print(f"blame, 50 faults of each kind: {done.stdout.strip().splitlines()[-1]}")


PARTS = (overhead, cached, memory, replay, equals, coverage, power, blame)


def main() -> None:
    wanted = sys.argv[1:] or [part.__name__ for part in PARTS]
    known = {part.__name__: part for part in PARTS}
    for name in wanted:
        if name not in known:
            raise SystemExit(f"unknown part {name!r} (known: {', '.join(known)})")
        with tempfile.TemporaryDirectory() as folder:
            known[name](Path(folder))


if __name__ == "__main__":
    main()
