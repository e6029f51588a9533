"""A reranker judged: is what it makes of the first 30 hits of hybrid search better, and what does it cost?

    python benchmarks/reranker.py --data DIR --model FOLDER [--sets nq,squad,hotpot,scifact,cranfield,cisi] [--most 200]
    python benchmarks/reranker.py --latency [--model FOLDER]

Figures are means over questions; differences are paired, with 95 % intervals, questions on one document as one cluster.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from llmkit import weights
from llmkit.encoders.local import LocalEncoder
from llmkit.evaluation.analysis.statistics import paired
from llmkit.evaluation.metrics.retrieval import ndcg, recall, reciprocal_rank
from llmkit.evaluation.tasks.datasets import Beir, QAFolder
from llmkit.knowledge.knowledge_base import KnowledgeBase
from llmkit.retrieval.hybrid import Hybrid
from llmkit.retrieval.rerankers.local_cross_encoder import LocalCrossEncoder
from llmkit.types import Chunk, Document, Hit, Sample

MEASURES = {"nDCG@10": (ndcg, 10), "MRR@10": (reciprocal_rank, 10), "recall@5": (recall, 5)}
DEPTH = 30


def dataset(name: str, data: Path):
    if name in ("scifact", "cranfield", "cisi"):
        return Beir(path=str(data / "ir" / name))
    folder = {"nq": "nq", "squad": "squad-unanswerable-dev", "hotpot": "hotpot-dev", "xquad": "xquad/en"}[name]
    return QAFolder(path=str(data / "qa" / folder), questions="dev.jsonl" if name == "nq" else "questions.jsonl")


def judge(name: str, data: Path, reranker: LocalCrossEncoder, most: int) -> None:
    source = dataset(name, data)
    samples = [one for one in source.samples() if isinstance(one, Sample) and one.relevant]
    chosen = sorted(np.random.default_rng(1).permutation(len(samples))[:most])
    samples = [samples[i] for i in chosen]
    with (
        tempfile.TemporaryDirectory() as folder,
        KnowledgeBase.create(Path(folder) / "kb", encoder=LocalEncoder()) as kb,
    ):
        kb.add(one for one in source.documents() if isinstance(one, Document))
        queries = [one.question for one in samples]
        found = Hybrid().retrieve(kb, queries, DEPTH)
    again = reranker.rerank_all(queries, found, DEPTH)
    clusters = [one.cluster or one.id for one in samples]
    for measure, (score, k) in MEASURES.items():
        old, new = (
            [score(_documents(hits), one.relevant, k) for one, hits in zip(samples, run, strict=True)]
            for run in (found, again)
        )
        result = paired(old, new, clusters)
        gain = result.difference
        print(
            f"{name:<10} {measure:<9} n={len(samples):<4} hybrid {np.mean(old):.3f}  reranked {np.mean(new):.3f}  "
            f"{gain.mean:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}] p={result.p:.3f} "
            f"{result.wins}/{result.ties}/{result.losses}",
            flush=True,
        )


def _documents(hits: list[Hit]) -> list[str]:
    return list(dict.fromkeys(hit.chunk.document for hit in hits))


def latency(reranker: LocalCrossEncoder) -> None:
    """30 passages of 100 words for one question, warm."""
    words = "the water of the river was let into the hall by a gate that two men could close in a minute".split()
    text = " ".join((words * 6)[:100])
    hits = [Hit(Chunk("d", i, 0, len(text), f"{i} {text}", 120), 1.0 - i / 100) for i in range(DEPTH)]
    query = "who could close the gate of the hall?"
    reranker.rerank_all([query], [hits], 5)
    spent = []
    for _ in range(15):
        started = time.perf_counter()
        reranker.rerank_all([query], [hits], 5)
        spent.append(1000 * (time.perf_counter() - started))
    print(f"{reranker.identity}: {DEPTH} passages of 100 words, median {statistics.median(spent):.0f} ms of 15 runs")


def untrained(folder: Path) -> LocalCrossEncoder:
    """MiniLM with an empty head: it ranks nothing, and takes as long as one that does."""
    from safetensors.numpy import load_file, save_file

    base = weights.find("minilm")
    tensors = load_file(base / "model.safetensors")
    head = {"classifier.weight": np.zeros((1, 384), np.float32), "classifier.bias": np.zeros(1, np.float32)}
    save_file({**tensors, **head}, folder / "model.safetensors")
    for name in ("config.json", "tokenizer.json"):
        (folder / name).write_bytes((base / name).read_bytes())
    (folder / "reranker.json").write_text(json.dumps({"pooling": "mean"}))
    return LocalCrossEncoder(model=str(folder))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--model")
    parser.add_argument("--sets", default="nq,squad,hotpot,scifact,cranfield,cisi")
    parser.add_argument("--most", type=int, default=200, help="questions of a set, drawn with one seed")
    parser.add_argument("--latency", action="store_true")
    asked = parser.parse_args()
    if asked.latency:
        with tempfile.TemporaryDirectory() as folder:
            latency(LocalCrossEncoder(model=asked.model) if asked.model else untrained(Path(folder)))
        return
    if not asked.model:
        parser.error("--model FOLDER, or --latency")
    for name in asked.sets.split(","):
        judge(name, asked.data, LocalCrossEncoder(model=asked.model), asked.most)


if __name__ == "__main__":
    main()
