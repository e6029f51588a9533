"""What BM25's analyzers are worth, language by language, and hybrid search where the encoder cannot read.

    python benchmarks/languages.py [--data FOLDER] [--cache FOLDER] [--only analyzers|hybrid]

nDCG@10 and recall@5 over whole texts (one chunk a passage), and paired differences from the first line of each table
with 95 % intervals. Where `fugashi` and `unidic-lite` (Japanese) or `jieba` (Chinese) are installed, words as they cut
them are compared too; llmkit does not use them. The second part ingests with the default encoder and compares dense,
BM25 and hybrid.
"""

from __future__ import annotations

import argparse
import os
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
from retrieval import Qrels, interval, ir, knowledge_base, qa, ranked, rows

from llmkit.evaluation.metrics.retrieval import ndcg, recall
from llmkit.knowledge import analyzers
from llmkit.knowledge.local.lexical import index as lexical
from llmkit.knowledge.local.lexical.index import LexicalIndex

Prepare = Callable[[str, str], str]
Scores = dict[str, np.ndarray]

CJK = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]+")


def pairs_only(text: str, code: str) -> str:
    """Chinese and Japanese by pairs of characters, and nothing else done: what llmkit 0.1 did."""
    return CJK.sub(lambda run: f" {' '.join(pairs(run.group()))} ", text)


def pairs(run: str) -> list[str]:
    return [run[i : i + 2] for i in range(len(run) - 1)] or [run]


def single_only(text: str, code: str) -> str:
    return CJK.sub(lambda run: f" {' '.join(run.group())} ", unicodedata.normalize("NFKC", text))


def morphological(code: str) -> dict[str, Prepare]:
    """Words instead of characters, by a morphological analyzer, where one is installed."""
    try:
        if code == "ja":
            import fugashi

            tagger = fugashi.Tagger("-Owakati")
            return {"MeCab, UniDic": lambda text, code: tagger.parse(unicodedata.normalize("NFKC", text))}
        import jieba

        return {"jieba": lambda text, code: " ".join(jieba.cut(unicodedata.normalize("NFKC", text)))}
    except ImportError:
        return {}


def measure(folder: tuple[Path, dict[str, str], Qrels], prepare: Prepare, code: str) -> Scores:
    corpus, queries, qrels = folder
    ids, texts = [], []
    for row in rows(corpus):
        ids.append(str(row.get("_id", row.get("id"))))
        texts.append(f"{row.get('title') or ''}\n{row['text']}")
    lexical.prepared = prepare  # type: ignore[assignment]
    try:
        index = LexicalIndex(None, code)
        index.update(1, (), enumerate(texts))
        found = index.search(list(queries.values()), 20)
    finally:
        lexical.prepared = analyzers.prepared
    runs = [[ids[row] for row in ranking.tolist()] for ranking, _ in found]
    return {
        "nDCG@10": np.array([ndcg(run, qrels[q], 10) for q, run in zip(queries, runs, strict=True)]),
        "recall@5": np.array([recall(run, qrels[q], 5) for q, run in zip(queries, runs, strict=True)]),
    }


def table(name: str, lines: dict[str, Scores]) -> None:
    first = next(iter(lines.values()))
    print(f"\n{name}: {len(first['nDCG@10'])} queries")
    for label, scores in lines.items():
        cells = []
        for metric, values in scores.items():
            difference = values - first[metric]
            cells.append(f"{metric} {values.mean():.3f} {interval(values, (0.0, 1.0))}")
            if scores is not first:
                cells[-1] += f" ({difference.mean():+.4f} {interval(difference, (-1.0, 1.0))})"
        print(f"  {label:<28}" + "  ".join(cells), flush=True)


def part_of_analyzers(data: Path) -> None:
    for name, code in (("jaquad-train", "ja"), ("xquad/zh", "zh")):
        folder = qa(data / "qa" / name, "questions.jsonl")
        ways = {"pairs and ideographs": analyzers.prepared, "pairs": pairs_only, "single characters": single_only}
        table(name, {label: measure(folder, way, code) for label, way in {**ways, **morphological(code)}.items()})
    for name, code in (("xquad/de", "de"), ("xquad/es", "es"), ("xquad/en", "en")):
        folder = qa(data / "qa" / name, "questions.jsonl")
        table(name, {
            "English stemmer": measure(folder, analyzers.prepared, "en"),
            "no stemmer": measure(folder, analyzers.prepared, "none"),
            f"stemmer of {code}": measure(folder, analyzers.prepared, code),
        })  # fmt: skip
    for folder_name in ("cosqa-dev", "scifact", "cranfield"):
        folder = ir(data / "ir" / folder_name)
        table(folder_name, {
            "words": measure(folder, pairs_only, "en"),
            "and parts of identifiers": measure(folder, analyzers.prepared, "en"),
        })  # fmt: skip


def part_of_hybrid(data: Path, cache: Path) -> None:
    for name in ("jaquad-train", "xquad/zh", "xquad/de", "xquad/es", "xquad/en"):
        corpus, queries, qrels = qa(data / "qa" / name, "questions.jsonl")
        with knowledge_base(name.replace("/", "-"), corpus, cache) as kb:
            lines: dict[str, Scores] = {}
            for retriever in ("bm25", "dense", "hybrid"):
                run = ranked(kb, retriever, queries)
                lines[retriever] = {
                    "nDCG@10": np.array([ndcg(run[q], qrels[q], 10) for q in queries]),
                    "recall@5": np.array([recall(run[q], qrels[q], 5) for q in queries]),
                }
            table(f"{name} (language {kb.language}, {kb.count} chunks)", lines)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    here = Path(__file__).resolve().parent.parent
    arguments.add_argument(
        "--data", type=Path, default=os.environ.get("LLMKIT_DATA") or here.parent / "shared" / "data"
    )
    arguments.add_argument("--cache", type=Path, default=here / "benchmarks" / "results" / "knowledge")
    arguments.add_argument("--only", choices=["analyzers", "hybrid"])
    given = arguments.parse_args()
    data = Path(given.data)
    if not data.is_dir():
        raise SystemExit(f"no data sets at {data}: set LLMKIT_DATA")
    given.cache.mkdir(parents=True, exist_ok=True)
    if given.only != "hybrid":
        part_of_analyzers(data)
    if given.only != "analyzers":
        part_of_hybrid(data, given.cache)


if __name__ == "__main__":
    main()
