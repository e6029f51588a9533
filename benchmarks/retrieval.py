"""Quality of retrieval on public data: nDCG@10 and recall@k of dense, BM25 and hybrid, with intervals.

    python benchmarks/retrieval.py [--data FOLDER] [--cache FOLDER] [--tune]

The data sets are looked for in LLMKIT_DATA, then ../shared/data. Knowledge bases are kept in --cache between runs.
`--tune` compares ways of fusing on CISI, CoSQA and NQ train, which the table below does not use.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import os
from pathlib import Path

import numpy as np

from llmkit import config
from llmkit.encoders.local import LocalEncoder
from llmkit.evaluation.analysis.statistics import mean_interval
from llmkit.evaluation.metrics.retrieval import ndcg, recall
from llmkit.knowledge.knowledge_base import KnowledgeBase

Qrels = dict[str, dict[str, float]]


def rows(path: Path) -> list[dict]:
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def ir(folder: Path) -> tuple[Path, dict[str, str], Qrels]:
    """A BEIR folder: corpus file, queries, judgements above 0."""
    qrels: Qrels = {}
    with open(folder / "qrels.tsv", encoding="utf-8") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            if float(row["score"]) > 0:
                qrels.setdefault(row["query-id"], {})[row["corpus-id"]] = float(row["score"])
    queries = {row["_id"]: row["text"] for row in rows(folder / "queries.jsonl") if row["_id"] in qrels}
    return folder / "corpus.jsonl.gz", queries, qrels


def qa(folder: Path, file: str) -> tuple[Path, dict[str, str], Qrels]:
    """A question answering folder: the passages that hold the answer are relevant."""
    found = [row for row in rows(folder / file) if row["relevant"]]
    queries = {str(row["id"]): row["question"] for row in found}
    return folder / "corpus.jsonl.gz", queries, {str(row["id"]): dict.fromkeys(row["relevant"], 1.0) for row in found}


def knowledge_base(name: str, corpus: Path, cache: Path) -> KnowledgeBase:
    path = cache / name
    kb = KnowledgeBase.open(path) if path.exists() else KnowledgeBase.create(path, encoder=LocalEncoder())
    kb.ingest([corpus])
    return kb


def ranked(kb: KnowledgeBase, retriever: object, queries: dict[str, str], k: int = 20) -> dict[str, list[str]]:
    """Documents in the order of their best chunk."""
    part = config.build_part("retriever", retriever)
    hits = part.retrieve(kb, list(queries.values()), 2 * k)
    return {
        name: list(dict.fromkeys(hit.chunk.document for hit in found))[:k]
        for name, found in zip(queries, hits, strict=True)
    }


def interval(values: np.ndarray, bounds: tuple[float, float]) -> str:
    found = mean_interval(values, bounds=bounds)
    return f"[{found.low:.3f}, {found.high:.3f}]"


def table(
    name: str, kb: KnowledgeBase, queries: dict, qrels: Qrels, retrievers: dict[str, object], metrics: dict
) -> None:
    print(f"\n{name}: {len(queries)} queries, {kb.count} chunks")
    scores: dict[str, dict[str, np.ndarray]] = {}
    for label, retriever in retrievers.items():
        run = ranked(kb, retriever, queries)
        scores[label] = {
            metric: np.array([measure(run[q], qrels[q]) for q in queries]) for metric, measure in metrics.items()
        }
        cells = []
        for metric, values in scores[label].items():
            cells.append(f"{metric} {values.mean():.3f} {interval(values, (0.0, 1.0))}")
        print(f"  {label:<22}" + "  ".join(cells), flush=True)
    first = next(iter(metrics))
    single = max(("dense", "bm25"), key=lambda label: scores[label][first].mean())
    for label in retrievers:
        if label not in ("dense", "bm25"):
            difference = scores[label][first] - scores[single][first]
            print(f"  {label} - {single}: {first} {difference.mean():+.3f} {interval(difference, (-1.0, 1.0))} paired")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    here = Path(__file__).resolve().parent.parent
    arguments.add_argument(
        "--data", type=Path, default=os.environ.get("LLMKIT_DATA") or here.parent / "shared" / "data"
    )
    arguments.add_argument("--cache", type=Path, default=here / "benchmarks" / "results" / "knowledge")
    arguments.add_argument("--tune", action="store_true")
    given = arguments.parse_args()
    data = Path(given.data)
    if not data.is_dir():
        raise SystemExit(f"no data sets at {data}: set LLMKIT_DATA")
    given.cache.mkdir(parents=True, exist_ok=True)
    at10 = {"nDCG@10": lambda run, relevant: ndcg(run, relevant, 10)}
    at5 = {
        "recall@5": lambda run, relevant: recall(run, relevant, 5),
        "recall@20": lambda run, relevant: recall(run, relevant, 20),
    }
    retrievers: dict[str, object] = {"dense": "dense", "bm25": "bm25", "hybrid": "hybrid"}
    if given.tune:
        retrievers |= {"rrf": {"type": "hybrid", "fusion": "rrf"}}
        for weight in (0.3, 0.4, 0.5, 0.6, 0.7):
            retrievers[f"weighted {weight}"] = {"type": "hybrid", "fusion": "weighted", "weights": [weight, 1 - weight]}
        for name in ("cisi", "cosqa-dev"):
            corpus, queries, qrels = ir(data / "ir" / name)
            table(name, knowledge_base(name, corpus, given.cache), queries, qrels, retrievers, at10)
        corpus, queries, qrels = qa(data / "qa" / "nq", "train.jsonl")
        table("nq train", knowledge_base("nq", corpus, given.cache), queries, qrels, retrievers, at10 | at5)
        return
    for name in ("scifact", "cranfield"):
        corpus, queries, qrels = ir(data / "ir" / name)
        table(name, knowledge_base(name, corpus, given.cache), queries, qrels, retrievers, at10)
    corpus, queries, qrels = qa(data / "qa" / "nq", "dev.jsonl")
    table("nq dev", knowledge_base("nq", corpus, given.cache), queries, qrels, retrievers, at5)


if __name__ == "__main__":
    main()
