"""Adds, updates, deletes, compactions: what each costs, and that the answers are those of a rebuild.

    python benchmarks/updates.py                          # 2,000 operations
    python benchmarks/updates.py --operations 100000      # a long evening
    python benchmarks/updates.py --deletes 1000 10000 100000

The first draws operations at random over some thousands of documents, one commit each for a tenth of them and batches
for the rest, and compares the answers with a knowledge base made in one go of what is left. The second deletes the same
few documents from knowledge bases of several sizes: a delete must cost what it deletes, not what it leaves.
"""

from __future__ import annotations

import argparse
import random
import resource
import shutil
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np

from llmkit.encoders.hashing import HashingEncoder
from llmkit.knowledge.knowledge_base import KnowledgeBase
from llmkit.retrieval.dense_and_bm25 import BM25, Dense
from llmkit.types import Document

WORDS = [f"word{n}" for n in range(3000)]
QUERIES = [f"{WORDS[n]} {WORDS[7 * n + 3]} {WORDS[11 * n + 500]}" for n in range(60)]


def document(name: int, seed: int) -> Document:
    chance = random.Random(f"{name} {seed}")
    return Document(f"d{name}", " ".join(chance.choices(WORDS, k=chance.randint(5, 60))), metadata={"n": name})


def answers(kb: KnowledgeBase) -> list[tuple[list[str], np.ndarray]]:
    """Documents and scores of every query, by vectors and by words."""
    return [
        ([hit.chunk.document for hit in hits], np.array([hit.score for hit in hits]))
        for retriever in (Dense(), BM25())
        for hits in retriever.retrieve(kb, QUERIES, 10)
    ]


def same(one: list, other: list) -> bool:
    """Whether two lists of answers agree: scores to single precision, documents where no tie lets both be right."""
    for (names, scores), (others, values) in zip(one, other, strict=True):
        if len(names) != len(others) or not np.allclose(scores, values, atol=1e-4):
            return False
        for end in np.flatnonzero(np.diff(scores) < -1e-3):
            if set(names[: end + 1]) != set(others[: end + 1]):
                return False
    return True


def operate(folder: Path, operations: int, names: int, batch: int, seed: int) -> None:
    chance = random.Random(seed)
    live: dict[int, int] = {}
    times: dict[str, list[float]] = defaultdict(list)
    counts: dict[str, int] = defaultdict(int)
    done = compactions = 0
    kb = KnowledgeBase.create(folder / "kb", encoder=HashingEncoder())
    started = time.perf_counter()
    while done < operations:
        size = 1 if chance.random() < 0.1 else min(batch, operations - done)
        what = chance.choices(["add", "update", "delete", "compact"], [4, 4, 3, 0.1])[0]
        begun = time.perf_counter()
        if what == "compact":
            kb.compact(keep=chance.randint(1, 3))
            compactions += 1
            size = 1
        elif what == "delete":
            gone = chance.sample(sorted(live), min(size, len(live)))
            kb.delete([f"d{name}" for name in gone])
            for name in gone:
                del live[name]
        else:
            pool = sorted(live) if what == "update" and live else range(names)
            some = chance.sample(pool, min(size, len(pool)))
            for name in some:
                live[name] = chance.randrange(10**9)
            kb.add([document(name, live[name]) for name in some])
        times[f"{what}, {'one' if size == 1 else 'a batch'}"].append(time.perf_counter() - begun)
        counts[what] += size
        done += size
    total = time.perf_counter() - started
    print(f"{done} operations in {total:.0f} s, {1000 * total / done:.2f} ms each: {dict(counts)}; "
          f"{kb.generation} commits, {len(live)} documents left, {compactions} compactions")  # fmt: skip
    for what, some in sorted(times.items()):
        middle, worst = 1000 * statistics.median(some), 1000 * max(some)
        print(f"  {what:<18} {len(some):>6} commits, p50 {middle:8.1f} ms, max {worst:8.1f} ms")
    kb.compact()
    found = kb.verify()
    begun = time.perf_counter()
    with KnowledgeBase.create(folder / "again", encoder=HashingEncoder()) as again:
        again.add([document(name, seed) for name, seed in sorted(live.items())])
        rebuilt = time.perf_counter() - begun
        equal = same(answers(kb), answers(again))
    kb.close()
    print(f"a rebuild takes {rebuilt:.1f} s; verify: {found or 'whole'}; answers equal: {equal}; "
          f"peak RSS {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")  # fmt: skip
    assert equal
    assert not found


def deletes(folder: Path, sizes: list[int], count: int) -> None:
    print(f"deleting {count} documents in one commit: wall time (of which CPU)")
    for size in sizes:
        path = folder / f"kb{size}"
        with KnowledgeBase.create(path, encoder=HashingEncoder()) as kb:
            kb.add(document(name, 0) for name in range(size))
        with KnowledgeBase.open(path) as kb:
            begun = time.perf_counter()
            kb.search_bm25(["x"], 1)
            kb.snapshot().index.search(np.ones((1, kb.dim), dtype=np.float32) / np.sqrt(kb.dim), 1)
            opened = time.perf_counter() - begun
            taken, busy = [], []
            for turn in range(7):
                first = turn * count
                begun, cpu = time.perf_counter(), time.process_time()
                assert kb.delete([f"d{name}" for name in range(first, first + count)]) == count
                taken.append(time.perf_counter() - begun)
                busy.append(time.process_time() - cpu)
        wall, own = 1000 * statistics.median(taken), 1000 * statistics.median(busy)
        print(f"  {size:>7} rows: {wall:7.1f} ms ({own:.1f} ms); opening {1000 * opened:.0f} ms")
        shutil.rmtree(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--operations", type=int, default=2000)
    parser.add_argument("--names", type=int, default=5000, help="documents there can be at once")
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--deletes", type=int, nargs="+", help="sizes; measures deletes instead")
    parser.add_argument("--count", type=int, default=10, help="documents a delete takes out")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if given.deletes:
            deletes(Path(folder), given.deletes, given.count)
        else:
            operate(Path(folder), given.operations, given.names, given.batch, given.seed)


if __name__ == "__main__":
    main()
