"""A knowledge base of ten thousand, a hundred thousand and a million vectors: build, open, memory, latency, recall.

    python benchmarks/million.py [--sizes 10000 100000 1000000] [--data ../shared/data] [--recall 0.97]
    python benchmarks/million.py --structure hnsw --sizes 10000 100000
    python benchmarks/million.py --plot docs/million.svg --sizes

Vectors. 14,815 real passages (NQ, SciFact, CISI, CoSQA) are encoded once with the default encoder and kept in
`.llmkit/million`. Up to that many, they are taken as they are. For more, each vector is a real one b, moved:

    v = a b + sqrt(1 - a²) e,      a = r^p

where e is noise of unit length at a right angle to b, with the covariance of the differences between real vectors and
their nearest neighbours (so that it stays where real text differs, and does not fill all 384 dimensions evenly), r is
drawn from the cosines between real vectors and their nearest neighbours, and p is fitted so that the median cosine of a
synthetic vector to *its* nearest neighbour is that of the real ones. The quantiles of both are printed side by side.

Queries are real questions of those four data sets, encoded as queries. 2,000 of them choose and certify the index, the
others measure the recall that is printed.

The knowledge base is a real one: segments and index are written and read by the classes every ingest and search uses,
the catalogue has a row for every chunk (of the same few words: text plays no part here). Only the encoding is left out.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

KEPT = Path(".llmkit/million")
SETS = ("qa/nq", "ir/scifact", "ir/cisi", "ir/cosqa-dev")
DIM, BLOCK = 384, 100_000
CHOOSING = 2000


def embeddings(data: Path) -> tuple[np.ndarray, np.ndarray]:
    """Passages and questions as unit vectors, encoded once."""
    files = KEPT / "passages.npy", KEPT / "queries.npy"
    if not all(file.is_file() for file in files):
        from llmkit.encoders.fit_query import fit_query
        from llmkit.encoders.local import LocalEncoder

        def rows(path):
            with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as lines:
                return [json.loads(line) for line in lines]

        encoder = LocalEncoder()
        passages, questions = [], []
        for name in SETS:
            for row in rows(data / name / "corpus.jsonl.gz"):
                passages.append(fit_query(encoder, f"{row.get('title', '')}\n{row['text']}".strip())[0])
            asked = [data / name / f"{part}.jsonl" for part in (("train", "dev") if name == "qa/nq" else ("queries",))]
            for row in (row for path in asked for row in rows(path)):
                questions.append(fit_query(encoder, row.get("question") or row["text"])[0])
        KEPT.mkdir(parents=True, exist_ok=True)
        np.save(files[1], encoder.encode_queries(questions))
        np.save(files[0], encoder.encode_passages([text for text in passages if text]))
    passages, questions = (np.load(file) for file in files)
    return passages, questions[np.random.default_rng(0).permutation(len(questions))]


def nearest(vectors: np.ndarray, among: list[np.ndarray], at: np.ndarray) -> np.ndarray:
    """Cosine of each vector, which stands at position `at`, to its nearest neighbour, and which that is: (2, n)."""
    best = np.full((2, len(vectors)), -1.0)
    first = 0
    for block in among:
        similar = vectors @ block.T
        inside = (at >= first) & (at < first + len(block))
        similar[np.flatnonzero(inside), at[inside] - first] = -1
        place = similar.argmax(axis=1)
        value = similar[np.arange(len(vectors)), place]
        best = np.where(value > best[0], np.stack([value, place + first]), best)
        first += len(block)
    return best


class Perturbed:
    """n vectors, a block at a time."""

    def __init__(self, passages: np.ndarray, n: int) -> None:
        self.passages, self.n = passages, n
        cosine, place = nearest(passages, [passages], np.arange(len(passages)))
        self.real = cosine[cosine < 0.9999]  # the same passage twice is not a neighbour
        moved = passages - passages[place.astype(int)]
        self.spread = np.linalg.cholesky(np.cov(moved.T) + 1e-9 * np.eye(DIM)).astype(np.float32)
        low, high = 0.02, 4.0
        rng = np.random.default_rng(1)
        counts = np.maximum(1, rng.poisson(n / len(passages), 300))
        bases = np.repeat(passages[rng.choice(len(passages), 300, replace=False)], counts, axis=0)
        for _ in range(14 if n > len(passages) else 0):
            self.power = (low + high) / 2
            if self._siblings(bases, counts) > np.median(self.real):  # too near: move further
                low = self.power
            else:
                high = self.power

    def _move(self, bases: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        noise = rng.standard_normal(bases.shape, dtype=np.float32) @ self.spread.T
        noise -= (noise * bases).sum(axis=1, keepdims=True) * bases
        noise /= np.linalg.norm(noise, axis=1, keepdims=True)
        near = (rng.choice(self.real, len(bases)) ** self.power).astype(np.float32)[:, None]
        moved = near * bases + np.sqrt(1 - near**2) * noise
        return (moved / np.linalg.norm(moved, axis=1, keepdims=True)).astype(np.float32)

    def _siblings(self, bases: np.ndarray, counts: np.ndarray) -> float:
        """Median cosine to the nearest of those that come from the same passage, for some passages."""
        moved = self._move(bases, np.random.default_rng(1))
        found = []
        for some in np.split(moved, np.cumsum(counts)[:-1]):
            similar = some @ some.T
            np.fill_diagonal(similar, -1)
            found += [max(row.max(), 0.3) for row in similar]  # alone: its neighbour comes from elsewhere
        return float(np.median(found))

    def blocks(self):
        if self.n <= len(self.passages):
            order = np.random.default_rng(2).permutation(len(self.passages))
            yield self.passages[order[: self.n]]
            return
        for at in range(0, self.n, BLOCK):
            rng = np.random.default_rng((3, at))
            yield self._move(self.passages[rng.integers(len(self.passages), size=min(BLOCK, self.n - at))], rng)


def fill(path: Path, n: int, data: Path, recall: float, structure: str | None) -> dict:
    """Make the knowledge base without its index; returns quantiles of neighbour cosines, real and synthetic."""
    from llmkit.encoders.hashing import HashingEncoder
    from llmkit.knowledge.knowledge_base import KnowledgeBase
    from llmkit.knowledge.local.vectors import segments
    from llmkit.knowledge.vector_settings import VectorSettings

    passages, _ = embeddings(data)
    made = Perturbed(passages, n)
    with KnowledgeBase.create(
        path, encoder=HashingEncoder(dim=DIM), vectors=VectorSettings(recall=recall, structure=structure, small=0)
    ) as kb:
        for at, block in enumerate(made.blocks()):
            ids = np.arange(1 + at * BLOCK, 1 + at * BLOCK + len(block), dtype=np.int64)
            segment = segments.write(path / "vectors", [block], ids, at + 1)
            with kb.store.catalog.commit("vectors") as (generation, db):
                cursor = db.execute(
                    "INSERT INTO documents (id, source, title, text, version, metadata, notes, fates, born)"
                    " VALUES (?, 'api', '', 'some words', '', '{}', '[]', '{}', ?)", (f"d{at}", generation)
                )  # fmt: skip
                db.executemany(
                    "INSERT INTO chunks (row, document, ordinal, start, end, text, tokens, title, heading, key, born)"
                    " VALUES (?, ?, ?, 0, 10, 'some words', 2, '', '[]', x'00', ?)",
                    ((row, cursor.lastrowid, i, generation) for i, row in enumerate(ids.tolist())),
                )
                segments.replace(db, [], [segment])
        found = segments.listed(kb.store.catalog)
        among = [segments.read(path / "vectors", segment, DIM) for segment in found]
        at = np.sort(np.random.default_rng(4).choice(n, min(n, 2000), replace=False))
        inside = [at[at // BLOCK == i] - i * BLOCK for i in range(len(among))]
        sample = np.concatenate([block[some] for block, some in zip(among, inside, strict=True)])
        cosines, _ = nearest(sample, among, at)
    shares = (0.1, 0.25, 0.5, 0.75, 0.9)
    return {"real": np.quantile(made.real, shares).tolist(), "here": np.quantile(cosines, shares).tolist()}


def memory() -> dict[str, float]:
    """Resident MB: anonymous, index files mapped, vector files mapped."""
    found = {"anonymous": 0.0, "index": 0.0, "vectors": 0.0, "other": 0.0}
    kind = "other"
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if line[:1].islower() or line[:1].isdigit():
            kind = "index" if ".faiss" in line else "vectors" if ".npy" in line else "other"
        elif line.startswith("Rss:"):
            found[kind] += int(line.split()[1]) / 1024
        elif line.startswith("Anonymous:"):
            found["anonymous"] += int(line.split()[1]) / 1024
            found[kind] -= int(line.split()[1]) / 1024
    return found


def build(path: Path, data: Path) -> dict:
    """Choose and write the index; seconds, peak memory, what was tried."""
    from llmkit.knowledge.knowledge_base import KnowledgeBase
    from llmkit.knowledge.local.ann.autotune import Questions

    _, questions = embeddings(data)
    asked = Questions(questions[:CHOOSING], "questions of four data sets", np.empty(0, dtype=np.int64))
    peak, done = [0.0], threading.Event()

    def watch():
        while not done.wait(0.1):
            for line in Path("/proc/self/status").read_text().splitlines():
                if line.startswith("RssAnon"):
                    peak[0] = max(peak[0], int(line.split()[1]) / 1024)

    threading.Thread(target=watch, daemon=True).start()
    begun = time.perf_counter()
    stages = []
    with KnowledgeBase.open(path) as kb:
        _, tried = kb.build_index(lambda text: stages.append((round(time.perf_counter() - begun, 1), text)), asked)
    seconds = time.perf_counter() - begun
    done.set()
    whole = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "seconds": seconds, "peak_anonymous": peak[0], "peak": whole, "stages": stages,
        "tried": [json.loads(one.dumps()) for one in tried],
    }  # fmt: skip


def query(path: Path, data: Path) -> dict:
    """Open, ask, measure; then recall against a scan of everything."""
    _, questions = embeddings(data)
    questions = questions[CHOOSING:]
    from llmkit.knowledge.knowledge_base import KnowledgeBase

    for file in (*path.glob("index/*"), *path.glob("vectors/*")):  # out of the page cache
        handle = os.open(file, os.O_RDONLY)
        os.fsync(handle)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)
    before = memory()
    begun = time.perf_counter()
    kb = KnowledgeBase.open(path)
    n = len(kb.snapshot().index)
    opened = time.perf_counter() - begun

    def times(batch: int, rounds: int) -> list[float]:
        found = []
        for at in range(rounds):
            some = questions[(at * batch) % (len(questions) - batch) :][:batch]
            begun = time.perf_counter()
            kb.search_dense(some, 10)
            found.append(1000 * (time.perf_counter() - begun))
        return found

    first = times(1, 100)
    times(1, 200)
    one, many = times(1, 400), times(64, 15)
    after = memory()
    asked = questions[:300]
    found = [set(rows.tolist()) for rows, _ in kb.search_dense(asked, 10)]
    _, true = kb.snapshot().index.search(asked, 10, exact=True)
    hits = [len(a & set(b.tolist())) / 10 for a, b in zip(found, true, strict=True)]
    filtered = {}
    rng = np.random.default_rng(5)
    for share in (0.001, 0.01, 0.5):
        allowed = np.sort(rng.choice(n, max(10, int(share * n)), replace=False) + 1).astype(np.int64)
        some = asked[:50]
        begun = time.perf_counter()
        got = [kb.snapshot().index.search(q[None], 10, allowed)[1][0] for q in some]
        spent = 1000 * (time.perf_counter() - begun) / len(some)
        _, want = kb.snapshot().index.search(some, 10, allowed, exact=True)
        hit = [len(set(a.tolist()) & set(b.tolist())) / 10 for a, b in zip(got, want, strict=True)]
        filtered[str(share)] = {"recall": float(np.mean(hit)), "ms": spent}
    return {
        "open": opened, "cold_p50": float(np.median(first)), "n": n, "before": before, "after": after,
        "p50": float(np.median(one)), "p95": float(np.quantile(one, 0.95)),
        "batch_p50": float(np.median(many)), "batch_p95": float(np.quantile(many, 0.95)),
        "recall": float(np.mean(hits)), "queries": len(asked), "filtered": filtered,
        "bytes": 2**20 * (after["anonymous"] - before["anonymous"] + after["index"]) / n,
    }  # fmt: skip


def child(stage: str, path: Path, arguments: argparse.Namespace, n: int) -> dict:
    command = [sys.executable, __file__, "--stage", stage, "--path", str(path), "--sizes", str(n)]
    command += ["--data", str(arguments.data), "--recall", str(arguments.recall)]
    command += ["--structure", arguments.structure] if arguments.structure else []
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def report(n: int, filled: dict, built: dict, asked: dict) -> None:
    print(f"\n{n:,} vectors of {DIM} numbers")
    for name in ("real", "here"):
        told = "  ".join(f"{value:.3f}" for value in filled[name])
        print(f"  cosine to the nearest neighbour, quantiles .1 .25 .5 .75 .9, {name}: {told}")
    for one in built["tried"]:
        print(
            f"  tried {one['structure']}/{one['codes']}: {one['bytes_per_vector']:.0f} B, recall {one['recall']:.4f} "
            f">= {one['lower']:.4f}, probes {one['probes']}/{one['lists']}, depth {one['depth']}, {one['certified']}"
        )
    after, before = asked["after"], asked["before"]
    print(
        f"  build {built['seconds']:.0f} s, peak {built['peak_anonymous']:.0f} MB anonymous, {built['peak']:.0f} MB "
        f"with mapped files\n  open {asked['open']:.3f} s   RAM {asked['bytes']:.0f} bytes a vector (anonymous "
        f"+{after['anonymous'] - before['anonymous']:.1f} MB, index file {after['index']:.1f} MB); vector files "
        f"mapped {after['vectors']:.0f} MB\n  p50 {asked['p50']:.2f} ms, p95 {asked['p95']:.2f} ms   batch of 64: p50 "
        f"{asked['batch_p50']:.1f} ms, p95 {asked['batch_p95']:.1f} ms   first 100 from a cold disk: p50 "
        f"{asked['cold_p50']:.2f} ms\n  recall@10 {asked['recall']:.4f} on {asked['queries']} questions"
    )
    for share, found in asked["filtered"].items():
        print(f"  filter that passes {float(share):.1%}: recall@10 {found['recall']:.4f}, {found['ms']:.2f} ms")


def plot(kept: dict[int, dict]) -> str:
    """One log-log plot of every figure over the number of vectors, as SVG."""
    lines = {
        "build, s": ("#7a4fbf", lambda one: one["build"]["seconds"]),
        "peak memory of the build, MB": ("#b07aa1", lambda one: one["build"]["peak_anonymous"]),
        "memory, bytes a vector": ("#d1495b", lambda one: one["query"]["bytes"]),
        "batch of 64, p50 ms": ("#2e7d32", lambda one: one["query"]["batch_p50"]),
        "one query, p95 ms": ("#66a182", lambda one: one["query"]["p95"]),
        "one query, p50 ms": ("#1f77b4", lambda one: one["query"]["p50"]),
        "open, s": ("#e08e0b", lambda one: one["query"]["open"]),
    }
    sizes = sorted(kept)
    values = [pick(kept[n]) for _, pick in lines.values() for n in sizes]
    low, high = np.floor(np.log10(min(values))), np.ceil(np.log10(max(values)))
    first, last = np.log10(sizes[0]), np.log10(sizes[-1])

    def x(n: float) -> float:
        return 60 + 420 * (np.log10(n) - first) / max(last - first, 1e-9)

    def y(value: float) -> float:
        return 380 - 350 * (np.log10(value) - low) / (high - low)

    drawn = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 760 430" font-family="sans-serif" font-size="12">']
    drawn.append('<rect width="760" height="430" fill="white"/>')
    for power in range(int(low), int(high) + 1):
        at = y(10.0**power)
        drawn.append(f'<path d="M60 {at:.1f}H480" stroke="#ddd"/><text x="54" y="{at + 4:.1f}" text-anchor="end">')
        drawn.append(f"{10.0**power:g}</text>")
    for n in sizes:
        drawn.append(f'<path d="M{x(n):.1f} 30V380" stroke="#ddd"/>')
        drawn.append(f'<text x="{x(n):.1f}" y="398" text-anchor="middle">{n:,}</text>')
    drawn.append('<text x="270" y="420" text-anchor="middle">vectors of 384 numbers</text>')
    labels: list[float] = []
    for name, (colour, pick) in sorted(lines.items(), key=lambda item: -item[1][1](kept[sizes[-1]])):
        points = " ".join(f"{x(n):.1f},{y(pick(kept[n])):.1f}" for n in sizes)
        drawn.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        at = max(y(pick(kept[sizes[-1]])), labels[-1] + 15 if labels else 0)
        labels.append(at)
        drawn.append(f'<text x="490" y="{at + 4:.1f}" fill="{colour}">{name}: {pick(kept[sizes[-1]]):.3g}</text>')
    return "\n".join([*drawn, "</svg>", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("LLMKIT_DATA") or "../shared/data"))
    parser.add_argument("--recall", type=float, default=0.97)
    parser.add_argument("--structure", choices=("ivf", "hnsw", "flat"), help="this one; chosen by size where not given")
    parser.add_argument("--plot", type=Path, metavar="SVG", help="draw what is kept")
    parser.add_argument("--keep", type=Path, default=KEPT / "results.json", help="where the figures are kept")
    parser.add_argument("--stage", choices=("fill", "build", "query"), help=argparse.SUPPRESS)
    parser.add_argument("--path", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.stage:
        call = {
            "fill": lambda: fill(
                arguments.path, arguments.sizes[0], arguments.data, arguments.recall, arguments.structure
            ),
            "build": lambda: build(arguments.path, arguments.data),
            "query": lambda: query(arguments.path, arguments.data),
        }[arguments.stage]
        print(json.dumps(call()))
        return
    if arguments.sizes:
        embeddings(arguments.data)
    kept = json.loads(arguments.keep.read_text()) if arguments.keep.is_file() else {}
    for n in arguments.sizes:
        with tempfile.TemporaryDirectory(dir=KEPT) as folder:
            path = Path(folder) / "kb"
            stages = [child(stage, path, arguments, n) for stage in ("fill", "build", "query")]
        report(n, *stages)
        name = f"{n}/{arguments.structure}" if arguments.structure else str(n)
        kept[name] = dict(zip(("fill", "build", "query"), stages, strict=True))
        arguments.keep.write_text(json.dumps(kept, indent=1))
    if arguments.plot:
        arguments.plot.write_text(plot({int(n): found for n, found in kept.items() if n.isdigit()}))


if __name__ == "__main__":
    main()
