"""What training a retriever is worth: answer accuracy and nDCG on held-out questions, by arm, with intervals.

    python benchmarks/retriever.py --sets nq,scifact,jaquad --seeds 0,1,2 [--arms …] [--minutes 40]
    python benchmarks/retriever.py --table          # only what is there already

Arms: bm25; minilm (untrained); dpr (from MiniLM); random (its architecture, from nothing); hard (dpr with mined
negatives); distil (hard with a teacher's margins, only with --teacher RERANKER); binary (hard, quantise: binary);
hybrid (hard and BM25, as the retriever `hybrid` fuses them).

Every arm and seed is a file under --cache: killed, the benchmark goes on where it was, a training from its checkpoint.
Test questions are never seen in training: nq has its own dev file; scifact and jaquad hold out a fifth, by passage, a
different one each seed. Early stopping uses a tenth of the training questions.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import ClassVar

import numpy as np

from llmkit import config
from llmkit.encoders.dual import DualEncoder
from llmkit.encoders.local import LocalEncoder
from llmkit.evaluation.analysis.statistics import mean_interval
from llmkit.evaluation.metrics.normalize import contains
from llmkit.evaluation.metrics.retrieval import ndcg
from llmkit.retrieval.fusion import ordered, weighted
from llmkit.training.data import load, mined_format
from llmkit.training.data.corpus_index import CorpusIndex
from llmkit.training.data.hard_negatives import mine
from llmkit.training.retriever.recipe import RetrieverRecipe
from llmkit.training.retriever.train import train

HERE = Path(__file__).resolve().parent.parent
ARMS = ("bm25", "minilm", "dpr", "random", "hard", "distil", "binary", "hybrid")
DEPTH = 100


def split(name: str, data: Path, seed: int):
    """Training examples, test examples, corpus."""
    if name == "nq":
        sources = [
            {"type": "qa", "path": str(data / "qa" / "nq"), "questions": f"{part}.jsonl"} for part in ("train", "dev")
        ]
        first, second = (config.build_part("examples", source) for source in sources)
        corpus = load.passages(first.documents())
        return load.read(first.examples()).examples, load.read(second.examples()).examples, corpus
    where = {"jaquad": {"type": "qa", "path": str(data / "qa" / "jaquad-train")},
             "scifact": {"type": "beir", "path": str(data / "ir" / "scifact")}}[name]  # fmt: skip
    source = config.build_part("examples", where)
    examples = load.read(source.examples()).examples
    return *load.held_out(examples, 0.2, seed), load.passages(source.documents())


def recipe(arm: str, seed: int, folder: Path, data: Path, corpus: Path, extra: dict) -> RetrieverRecipe:
    values = {
        "recipe": "retriever", "name": f"{arm}-{seed}", "out": str(folder / f"{arm}-{seed}"), "seed": seed,
        "data": {"type": "mined", "path": str(data)}, "corpus": str(corpus),
        "hard_negatives": 1 if arm in ("hard", "distil", "binary") else 0,
    }  # fmt: skip
    values |= {"init": "random", "embeddings": "trained", "lr": 2e-4, "epochs": 10} if arm == "random" else {}
    values |= {"distil": "margin-mse"} if arm == "distil" else {}
    values |= {"quantise": "binary"} if arm == "binary" else {}
    return config.Config(values | extra).build(RetrieverRecipe)


class Bench:
    """One data set and seed."""

    pools: ClassVar[dict[str, CorpusIndex]] = {}
    """The corpus of a data set as the untrained encoder sees it."""

    def __init__(self, name: str, seed: int, given: argparse.Namespace) -> None:
        self.name, self.seed, self.given = name, seed, given
        self.folder = given.cache / name / f"seed-{seed}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.train, self.test, self.corpus = split(name, given.data, seed)

    def result(self, arm: str) -> Path:
        return self.folder / f"{arm}.json"

    def run(self, arm: str) -> None:
        if self.result(arm).is_file():
            return
        if arm == "hybrid" and not self.result("hard").is_file():
            self.run("hard")
        started = time.monotonic()
        encoder, record = self.encoder(arm)
        trained = time.monotonic() - started
        pool = CorpusIndex.build(self.corpus, encoder) if record else self.pool()
        queries = [one.query for one in self.test]
        lexical = pool.lexical.search(queries, DEPTH)
        vectors = pool.encode_queries(queries)
        dense = []
        for row, ranking in enumerate(pool.dense(vectors, DEPTH)):
            dense.append((np.array(ranking), pool.vectors[ranking] @ vectors[row]))
        if arm == "bm25":
            rankings = [found.tolist() for found, _ in lexical]
        elif arm == "hybrid":
            fused = (weighted(pair, (0.7, 0.3)) for pair in zip(dense, lexical, strict=True))
            rankings = [[row for row, _ in ordered(one, DEPTH)] for one in fused]
        else:
            rankings = [found.tolist() for found, _ in dense]
        scores = {"figures": self.figures(pool, rankings), "train_seconds": trained, "cut": pool.cut}
        kept = ("steps", "best_step", "tokens", "seconds", "peak_mb", "dev")
        scores["training"] = {key: record.get(key) for key in kept}
        if arm in ("hard", "binary"):
            scores["compressed"] = compressed(pool.vectors, vectors)
        made = self.result(arm).with_suffix(".tmp")
        made.write_text(json.dumps(scores))
        made.replace(self.result(arm))

    def encoder(self, arm: str):
        if arm in ("bm25", "minilm"):
            return LocalEncoder(), {}
        name = "hard" if arm == "hybrid" else arm
        examples = self.examples(name)
        corpus = self.folder / "corpus.jsonl"
        rows = ({"id": p.id, "title": p.title, "text": p.text} for p in self.corpus)
        corpus.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        extra = json.loads(self.given.recipe)
        if self.name == "scifact":  # 1.2 million tokens: early stopping searches the passages of the data instead
            extra = {"corpus": None} | extra
        wanted = recipe(name, self.seed, self.folder, examples, corpus, extra)
        if not (wanted.out / "training.json").is_file():
            began = time.monotonic()

            def tell(told) -> None:
                if told.step in (3, 10) or told.step % 25 == 0:
                    rate, left = told.tokens_per_second, told.seconds_left / 60
                    print(f"    {self.name} {name} {told.step}/{told.steps} loss {told.loss:.3f}, {rate:.0f} tokens/s, "
                          f"at most {left:.0f} minutes left", flush=True)  # fmt: skip
                if self.given.minutes and time.monotonic() - began > 60 * self.given.minutes:
                    raise SystemExit(f"--minutes {self.given.minutes} are over: run again to go on from the checkpoint")

            train(wanted, tell=tell)
        record = json.loads((wanted.out / "training.json").read_text())
        return DualEncoder(model=str(wanted.out)), record

    def examples(self, arm: str) -> Path:
        kind = {"hard": "hard", "binary": "hard", "distil": "distil"}.get(arm, "plain")
        file = self.folder / f"{kind}.jsonl"
        if not file.is_file():
            examples = self.train
            if kind != "plain":
                judge = config.parse(f"part: {self.given.teacher}").values["part"] if kind == "distil" else None
                reranker = config.build_part("reranker", judge) if judge else None
                examples = mine(self.train, self.pool(), reranker=reranker).examples  # type: ignore[arg-type]
            mined_format.write(file, examples)
        return file

    def pool(self) -> CorpusIndex:
        """Encoded once, for all seeds."""
        if self.name not in self.pools:
            self.pools[self.name] = CorpusIndex.build(self.corpus, LocalEncoder())
        return self.pools[self.name]

    def figures(self, pool: CorpusIndex, rankings: list[list[int]]) -> dict[str, list[float]]:
        found: dict[str, list[float]] = {"ndcg@10": []}
        for example, ranking in zip(self.test, rankings, strict=True):
            relevant = {p.key: 1.0 for p in example.positives}
            found["ndcg@10"].append(ndcg([pool.passages[row].key for row in ranking], relevant, 10))
            right = [
                any(contains(pool.passages[row].text, answer) for answer in example.answers)
                if example.answers else pool.passages[row].key in relevant
                for row in ranking
            ]  # fmt: skip
            for k in (1, 5, 20, 100):
                found.setdefault(f"top-{k}", []).append(float(any(right[:k])))
        return found


def compressed(passages: np.ndarray, queries: np.ndarray, k: int = 10) -> dict[str, float]:
    """Share of the exact first 10 that an SQ8 index, and 1-bit codes with 40 rescored, find."""
    import faiss

    exact = np.argsort(-(queries @ passages.T), axis=1, kind="stable")[:, :k]
    index = faiss.IndexScalarQuantizer(passages.shape[1], faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT)
    index.train(passages)
    index.add(passages)
    _, eight = index.search(queries, k)
    signs = np.where(passages >= 0, 1.0, -1.0).astype(np.float32)
    rough = np.argsort(-(queries @ signs.T), axis=1, kind="stable")
    found = {"sq8": eight, "1-bit": rough[:, :k]}
    rescored = []
    for row, candidates in enumerate(rough[:, : 4 * k]):
        scores = passages[candidates] @ queries[row]
        rescored.append(candidates[np.argsort(-scores, kind="stable")[:k]])
    found["1-bit, 40 rescored"] = np.array(rescored)
    return {
        name: float(np.mean([len(set(a) & set(b)) / k for a, b in zip(exact, got, strict=True)]))
        for name, got in found.items()
    }


def table(name: str, seeds: list[int], cache: Path) -> None:
    results: dict[str, list[dict]] = {}
    for arm in ARMS:
        files = [cache / name / f"seed-{seed}" / f"{arm}.json" for seed in seeds]
        found = [json.loads(file.read_text()) for file in files if file.is_file()]
        if found:
            results[arm] = found
    for arm, found in results.items():
        cells = []
        for figure in ("top-1", "top-5", "top-20", "top-100", "ndcg@10"):
            values, clusters = _values(name, found, figure)
            bounds = mean_interval(values, clusters)
            cells.append(f"{figure} {bounds.mean:.3f} [{bounds.low:.3f}, {bounds.high:.3f}]")
        minutes = np.mean([one["train_seconds"] for one in found]) / 60
        print(f"{name:8} {arm:7} seeds {len(found)}  {'  '.join(cells)}  {minutes:.1f} min")
        base = results.get("minilm", [])
        if arm not in ("bm25", "minilm") and len(base) == len(found):
            for figure in ("top-5", "ndcg@10"):
                ours, clusters = _values(name, found, figure)
                theirs, _ = _values(name, base, figure)
                bounds = mean_interval(ours - theirs, clusters, bounds=(-1.0, 1.0))
                print(f"{'':17}{figure} - minilm {bounds.mean:+.3f} [{bounds.low:+.3f}, {bounds.high:+.3f}]")
        for one in found:
            if "compressed" in one:
                kept = ", ".join(f"{k} {v:.3f}" for k, v in one["compressed"].items())
                print(f"{'':17}of the exact 10 found: {kept}")


def _values(name: str, found: list[dict], figure: str) -> tuple[np.ndarray, list[str]]:
    """Values of all seeds; on nq the seeds ask the same questions, which are clusters."""
    rows = [(value, f"{i}" if name == "nq" else f"{seed} {i}") for seed, one in enumerate(found)
            for i, value in enumerate(one["figures"][figure])]  # fmt: skip
    return np.array([value for value, _ in rows]), [cluster for _, cluster in rows]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument(
        "--data", type=Path, default=Path(os.environ.get("LLMKIT_DATA") or HERE.parent / "shared" / "data")
    )
    arguments.add_argument("--cache", type=Path, default=HERE / ".llmkit" / "retriever-benchmark")
    arguments.add_argument("--sets", default="nq,scifact,jaquad")
    arguments.add_argument("--arms", default="bm25,minilm,dpr,random,hard,hybrid,binary")
    arguments.add_argument("--seeds", default="0,1,2")
    arguments.add_argument("--teacher", help="a reranker, for the arm distil: local, or {type: local, model: …}")
    arguments.add_argument("--recipe", default='{"epochs": 4}', help="JSON put over every arm's recipe")
    arguments.add_argument("--minutes", type=float, help="stop a training after so many minutes; run again to go on")
    arguments.add_argument("--table", action="store_true")
    given = arguments.parse_args()
    if not given.data.is_dir():
        raise SystemExit(f"no data sets at {given.data}: set LLMKIT_DATA")
    seeds = [int(seed) for seed in given.seeds.split(",")]
    arms = given.arms.split(",") + (["distil"] if given.teacher and "distil" not in given.arms else [])
    for name in given.sets.split(","):
        if not given.table:
            for seed in seeds:
                bench = Bench(name, seed, given)
                for arm in arms:
                    bench.run(arm)
        table(name, seeds, given.cache)


if __name__ == "__main__":
    main()
