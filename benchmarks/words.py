"""What dictionaries of German and Spanish are worth to the default encoder, and what they cost in English.

    python benchmarks/words.py [--words de,es] [--half test|dev|all] [--only read|english]

First part: XQuAD, whose paragraphs and questions are translations of each other; 240 paragraphs in each language, all
of them searched. Nothing of it went into the dictionaries, but how they are made was chosen on the questions of its
first 24 articles, so it is the other 24 that count (``--half test``). Second part: English questions. Every line is
judged by the gate of `llmkit train adopt`: paired, paragraphs as clusters.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from llmkit import config
from llmkit.encoders.local import LocalEncoder
from llmkit.evaluation.analysis.statistics import mean_interval
from llmkit.evaluation.metrics.retrieval import reciprocal_rank
from llmkit.knowledge.local.lexical.index import LexicalIndex
from llmkit.retrieval.fusion import ordered, weighted
from llmkit.training.data import load
from llmkit.training.data.corpus_index import CorpusIndex
from llmkit.training.data.examples import Passage
from llmkit.training.significance_gate import judge

HERE = Path(__file__).resolve().parent.parent
DEPTH = 10
ARTICLES = 24
WAYS = [("de", "de"), ("es", "es"), ("de", "en"), ("es", "en"), ("en", "de"), ("en", "es"), ("de", "es"), ("en", "en")]


class Pools:
    """Passages as both encoders see them, each encoded once."""

    def __init__(self, words: tuple[str, ...]) -> None:
        self.encoders = LocalEncoder(), LocalEncoder(words=words)

    def of(self, passages: Sequence[Passage]) -> list[CorpusIndex]:
        return [CorpusIndex.build(passages, encoder) for encoder in self.encoders]


def dense(pool: CorpusIndex, queries: Sequence[str]) -> list[list[str]]:
    """Keys of the best passages of each query."""
    return [[pool.passages[row].key for row in found] for found in pool.dense(pool.encode_queries(queries), DEPTH)]


def hybrid(pool: CorpusIndex, queries: Sequence[str], lexical: LexicalIndex) -> list[list[str]]:
    """As the retriever `hybrid` fuses them."""
    vectors = pool.encode_queries(queries)
    found = []
    for row, pair in enumerate(zip(pool.dense(vectors, 100), lexical.search(queries, 100), strict=True)):
        ranking = np.array(pair[0]), pool.vectors[pair[0]] @ vectors[row]
        fused = ordered(weighted((ranking, pair[1]), (0.7, 0.3)), DEPTH)
        found.append([pool.passages[at].key for at, _ in fused])
    return found


def line(
    name: str, before: list[list[str]], after: list[list[str]], right: list[set[str]], clusters: list[str]
) -> None:
    """One row of the table, with the gate's verdict."""
    cells = []
    for found in (before, after):
        for k in (1, 5):
            hits = np.array([float(bool(set(one[:k]) & keys)) for one, keys in zip(found, right, strict=True)])
            bounds = mean_interval(hits, clusters)
            cells.append(f"{bounds.mean:.3f} [{bounds.low:.3f}, {bounds.high:.3f}]")
    old, new = ([reciprocal_rank(one, dict.fromkeys(keys, 1.0), DEPTH) for one, keys in zip(found, right, strict=True)]
                for found in (before, after))  # fmt: skip
    print(f"{name:28} top-1 {cells[0]} -> {cells[2]}   top-5 {cells[1]} -> {cells[3]}", flush=True)
    print(f"{'':28} {judge(old, new, clusters)}", flush=True)


def xquad(data: Path, pools: Pools, half: str) -> None:
    made, texts = {}, {}
    for code in ("en", "de", "es"):
        folder = data / "qa" / "xquad" / code
        with gzip.open(folder / "corpus.jsonl.gz", "rt", encoding="utf-8") as lines:
            rows = [json.loads(row) for row in lines]
        passages = [Passage(row["text"], row["title"].replace("_", " "), row["id"]) for row in rows]
        keys = {passage.id: passage.key for passage in passages}
        asked = [json.loads(row) for row in (folder / "questions.jsonl").read_text(encoding="utf-8").splitlines()]
        if half != "all":
            asked = [one for one in asked if (int(one["relevant"][0].split("-")[1]) < ARTICLES) == (half == "dev")]
        texts[code] = asked, keys
        lexical = LexicalIndex(None, code)
        made[code] = pools.of(passages), lexical
        lexical.update(1, (), enumerate(passage.indexed_text for passage in made[code][0][0].passages))
    for asking, answering in WAYS:
        asked, _ = texts[asking]
        _, keys = texts[answering]
        queries, clusters = [one["question"] for one in asked], [one["relevant"][0] for one in asked]
        right = [{keys[one["relevant"][0]]} for one in asked]
        both, lexical = made[answering]
        name = f"{asking} questions, {answering} texts"
        line(f"{name}, dense", *(dense(pool, queries) for pool in both), right, clusters)
        line(f"{name}, hybrid", *(hybrid(pool, queries, lexical) for pool in both), right, clusters)
        found = [[both[0].passages[row].key for row in rows] for rows, _ in lexical.search(queries, DEPTH)]
        shares = (np.mean([bool(set(one[:k]) & keys) for one, keys in zip(found, right, strict=True)]) for k in (1, 5))
        print(f"{'':28} BM25 alone: top-1 {next(shares):.3f}, top-5 {next(shares):.3f}", flush=True)


def english(data: Path, pools: Pools) -> None:
    sets = {
        "NQ dev": {"type": "qa", "path": str(data / "qa" / "nq"), "questions": "dev.jsonl"},
        "SQuAD": {"type": "qa", "path": str(data / "qa" / "squad-unanswerable-dev")},
        "HotpotQA": {"type": "qa", "path": str(data / "qa" / "hotpot-dev")},
        "Cranfield": {"type": "beir", "path": str(data / "ir" / "cranfield")},
        "SciFact": {"type": "beir", "path": str(data / "ir" / "scifact")},
    }
    for name, where in sets.items():
        source = config.build_part("examples", where)
        examples = load.read(source.examples()).examples
        both = pools.of(load.passages(source.documents()))
        queries = [one.query for one in examples]
        right = [{passage.key for passage in one.positives} for one in examples]
        line(name, *(dense(pool, queries) for pool in both), right, [min(keys) for keys in right])
        pairs = list(zip(both[0].vectors, both[1].vectors, strict=True))
        alike = sum(bool(np.allclose(a, b, atol=1e-6)) for a, b in pairs)
        print(f"{'':28} {alike} of {len(pairs)} passages keep their vector", flush=True)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument(
        "--data", type=Path, default=Path(os.environ.get("LLMKIT_DATA") or HERE.parent / "shared" / "data")
    )
    arguments.add_argument("--words", default="de,es", help="names, or TSV files")
    arguments.add_argument("--half", choices=["test", "dev", "all"], default="test")
    arguments.add_argument("--only", choices=["read", "english"])
    given = arguments.parse_args()
    if not given.data.is_dir():
        raise SystemExit(f"no data sets at {given.data}: set LLMKIT_DATA")
    pools = Pools(tuple(given.words.split(",")))
    if given.only != "english":
        xquad(given.data, pools, given.half)
    if given.only != "read":
        english(given.data, pools)


if __name__ == "__main__":
    main()
