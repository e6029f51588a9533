"""Would late interaction over the default encoder's own token vectors help? No training, no torch.

    python benchmarks/late_interaction.py [--data FOLDER] [--cache FOLDER] [--sets nq cranfield]

MaxSim (Khattab & Zaharia 2020, the mean over the question's tokens) over the last layer of MiniLM reorders the twenty
best hits of hybrid search, alone and beside hybrid's own score, each scaled to [0, 1]. Paired differences from hybrid.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from retrieval import interval, ir, knowledge_base, qa

from llmkit import config
from llmkit.encoders.local import LocalEncoder
from llmkit.encoders.runtime.runtimes import batches, open_runtime
from llmkit.evaluation.metrics.retrieval import ndcg, recall
from llmkit.types import Hit

DEPTH = 20


class Tokens:
    """Unit vectors of a text's tokens, special ones left out."""

    def __init__(self, encoder: LocalEncoder) -> None:
        model = onnx.load(str(encoder._tower._graph[0]))
        last = max(i for i, node in enumerate(model.graph.node) if node.op_type == "LayerNormalization")
        name = model.graph.node[last].output[0]
        del model.graph.node[last + 1 :]
        del model.graph.output[:]
        shape = ["batch", "length", encoder.dim]
        model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape))
        with tempfile.TemporaryDirectory() as folder:
            graph = Path(folder) / "tokens.onnx"
            graph.write_bytes(model.SerializeToString())
            self.run = open_runtime(encoder.choice.runtime, graph, encoder.choice.precision, 2)
        self.tokenizer = encoder._tower.tokenizer

    def __call__(self, texts: list[str]) -> list[np.ndarray]:
        ids = [encoding.ids for encoding in self.tokenizer.encode_batch_fast(texts)]
        found = _Rows([len(one) for one in ids])
        self.run(batches(ids, budget=1024, max_texts=64), found)  # type: ignore[arg-type]
        return [found.rows[i] for i in range(len(ids))]


class _Rows:
    """Takes batches of padded states apart."""

    def __init__(self, lengths: list[int]) -> None:
        self.lengths, self.rows = lengths, {}

    def __setitem__(self, rows: np.ndarray, states: Any) -> None:
        for i, row in enumerate(rows.tolist()):
            vectors = states[i, 1 : self.lengths[row] - 1].astype(np.float32)
            self.rows[row] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def min_max_scale(scores: np.ndarray) -> np.ndarray:
    width = scores.max() - scores.min()
    return (scores - scores.min()) / width if width else np.ones_like(scores)


def documents(hits: list[Hit]) -> list[str]:
    return list(dict.fromkeys(hit.chunk.document for hit in hits))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    here = Path(__file__).resolve().parent.parent
    arguments.add_argument(
        "--data", type=Path, default=os.environ.get("LLMKIT_DATA") or here.parent / "shared" / "data"
    )
    arguments.add_argument("--cache", type=Path, default=here / "benchmarks" / "results" / "knowledge")
    arguments.add_argument("--sets", nargs="+", default=["nq", "cranfield", "scifact"])
    given = arguments.parse_args()
    tokens = Tokens(LocalEncoder())
    for name in given.sets:
        data = Path(given.data)
        corpus, queries, qrels = qa(data / "qa" / "nq", "dev.jsonl") if name == "nq" else ir(data / "ir" / name)
        with knowledge_base(name, corpus, given.cache) as kb:
            found = config.build_part("retriever", "hybrid").retrieve(kb, list(queries.values()), DEPTH)
        texts = list(dict.fromkeys(hit.chunk.indexed_text for hits in found for hit in hits))
        read = dict(zip(texts, tokens(texts), strict=True))
        asked = tokens(list(queries.values()))
        maxsim = [
            np.array([(query @ read[hit.chunk.indexed_text].T).max(axis=1).mean() for hit in hits])
            for query, hits in zip(asked, found, strict=True)
        ]

        def scores(runs: list[list[Hit]], queries: dict = queries, qrels: dict = qrels) -> dict[str, np.ndarray]:
            ranked = dict(zip(queries, map(documents, runs), strict=True))
            return {
                "nDCG@10": np.array([ndcg(ranked[q], qrels[q], 10) for q in queries]),
                "recall@5": np.array([recall(ranked[q], qrels[q], 5) for q in queries]),
            }

        first = scores(found)
        print(f"\n{name}: {len(queries)} queries; hybrid " + ", ".join(f"{k} {v.mean():.3f}" for k, v in first.items()))
        for prior in (0.0, 0.5, 1.0, 2.0):
            runs = []
            for own, hits in zip(maxsim, found, strict=True):
                total = min_max_scale(own) + prior * min_max_scale(np.array([hit.score for hit in hits]))
                runs.append([hits[i] for i in np.argsort(-total, kind="stable")])
            cells = [
                f"{metric} {(values - first[metric]).mean():+.3f} {interval(values - first[metric], (-1.0, 1.0))}"
                for metric, values in scores(runs).items()
            ]
            print(f"  MaxSim + {prior} hybrid   " + "  ".join(cells), flush=True)


if __name__ == "__main__":
    main()
