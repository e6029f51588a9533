"""Our own latencies against their limits: query beside the encoder alone, start-up, memory of an ingest.

python benchmarks/latency.py [--passages 10000]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WORDS = Path(__file__).resolve().parent.parent / "docs"


def timed(call, queries: list[str]) -> float:
    times = []
    for query in queries:
        begun = time.perf_counter()
        call(query)
        times.append(time.perf_counter() - begun)
    return 1000 * statistics.median(times)


def queries(passages: int) -> None:
    """Encode, search and fetch, interleaved with encoding alone, over a knowledge base of random real words."""
    import random

    from llmkit import config
    from llmkit.encoders.hashing import HashingEncoder
    from llmkit.encoders.local import LocalEncoder
    from llmkit.knowledge.knowledge_base import KnowledgeBase
    from llmkit.types import Document

    class Quick(HashingEncoder):
        """Vectors of the right length without the time of encoding ten thousand passages."""

        @property
        def identity(self) -> str:
            return encoder.identity

    encoder = LocalEncoder()
    vocabulary = " ".join(path.read_text() for path in sorted(WORDS.rglob("*.md"))).split()
    rng = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        with KnowledgeBase.create(Path(folder) / "kb", encoder=Quick(dim=encoder.dim)) as kb:
            kb.add(Document(str(i), " ".join(rng.choices(vocabulary, k=80)).replace("#", "")) for i in range(passages))
        kb = KnowledgeBase.open(Path(folder) / "kb", encoder=encoder)
        asked = [" ".join(rng.choices(vocabulary, k=9)) for _ in range(200)]
        calls = {"encoder alone": lambda query: encoder.encode_queries([query])}
        for name in ("dense", "hybrid"):
            retriever = config.build_part("retriever", name)
            calls[name] = lambda query, retriever=retriever: retriever.retrieve(kb, [query], 10)
        rounds: dict[str, list[float]] = {name: [] for name in calls}
        for call in calls.values():
            timed(call, asked[:5])
        for _ in range(5):
            for name, call in calls.items():
                rounds[name].append(timed(call, asked))
        alone = statistics.median(rounds["encoder alone"])
        print(f"query over {kb.count} chunks, p50, medians of 5 rounds of {len(asked)}")
        for name, times in rounds.items():
            print(
                f"  {name:<14} {statistics.median(times):6.2f} ms   {statistics.median(times) / alone:.2f}x the encoder"
            )


def starts() -> None:
    """Whole processes on a warm disk, median of 9."""

    def run(name: str, command: list[str], **more) -> None:
        times = []
        for _ in range(9):
            begun = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True, **more)
            times.append(time.perf_counter() - begun)
        print(f"  {name:<34} {statistics.median(times):.3f} s")

    print("start to end of a process")
    run("python -c pass", [sys.executable, "-c", "pass"])
    run("import llmkit", [sys.executable, "-c", "import llmkit"])
    run("llmkit --help", [sys.executable, "-m", "llmkit", "--help"])
    with tempfile.TemporaryDirectory() as folder:
        kb = f"{folder}/kb"
        ask = [sys.executable, "-m", "llmkit", "ask", "What does the ledger say?", "--kb", kb]
        subprocess.run(
            [sys.executable, "-m", "llmkit", "ingest", str(WORDS), "--into", kb], check=True, capture_output=True
        )
        run("llmkit ask (docs-qa)", ask)
        first = []
        for _ in range(5):
            begun = time.perf_counter()
            process = subprocess.Popen(
                [*ask, "--pipeline", "docs-qa-local"],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
            process.stdout.read(1)
            first.append(time.perf_counter() - begun)
            process.communicate()
        print(f"  {'ask docs-qa-local, to first token':<34} {statistics.median(first):.3f} s")


def memory() -> None:
    """Peak resident memory of an ingest of n and of 10 n small files."""
    code = (
        "import sys, resource\nfrom llmkit.encoders.hashing import HashingEncoder\n"
        "from llmkit.knowledge.knowledge_base import KnowledgeBase\n"
        "kb = KnowledgeBase.create(sys.argv[2], encoder=HashingEncoder(dim=384))\nkb.ingest([sys.argv[1]])\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, kb.count * 384 * 4 / 2**20)"
    )
    print("peak memory of an ingest (hashing encoder, one chunk a file)")
    beyond = {}
    for files in (500, 5000):
        with tempfile.TemporaryDirectory() as folder:
            for i in range(files):
                (Path(folder) / f"{i}.txt").write_text(f"file {i} " + "some words of text " * 40)
            with tempfile.TemporaryDirectory() as out:
                done = subprocess.run(
                    [sys.executable, "-c", code, folder, f"{out}/kb"], check=True, capture_output=True, text=True
                )
            peak, vectors = map(float, done.stdout.split())
            beyond[files] = peak - vectors
            print(f"  {files:>6} files  {peak:6.0f} MiB, {vectors:.1f} MiB of them vectors")
    print(f"  beyond the vectors, 10x the files: {beyond[5000] / beyond[500]:.2f}x")


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--passages", type=int, default=10_000)
    queries(arguments.parse_args().passages)
    starts()
    memory()
