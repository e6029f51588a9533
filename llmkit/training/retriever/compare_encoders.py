"""Whether a trained encoder may replace the one of a knowledge base: both asked the same held-out questions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmkit.encoders.fit_query import fit_query
from llmkit.errors import DataError
from llmkit.knowledge.knowledge_base import KnowledgeBase
from llmkit.protocols import Encoder
from llmkit.training.data import seen_questions
from llmkit.training.data.examples import Example
from llmkit.training.data.rerank_candidates import is_right
from llmkit.training.significance_gate import Verdict, judge

_BATCH = 1024
_K = 10


@dataclass(frozen=True)
class Trial:
    """A candidate's trial."""

    verdict: Verdict
    left: Counter[str]
    """Questions that could not be asked, by reason."""


def trial(
    kb: KnowledgeBase,
    candidate: Encoder,
    examples: Sequence[Example],
    *,
    tried: int = 1,
    on_progress: Callable[[int, int], None] | None = None,
) -> Trial:
    """Ask the passages of a knowledge base with its encoder and with the candidate: MRR@10 of the right passage.

    The candidate's vectors are made in memory and thrown away. A question counts only where a right passage is in
    the knowledge base; questions on one document are one cluster.

    Args:
        kb: open at its last generation.
        candidate: the encoder that was trained.
        examples: held-out questions, none of which it learnt from.
        tried: candidates that were judged on these questions so far, this one included.
        on_progress: called with passages encoded and passages in all.

    Raises:
        DataError: no question can be asked, the candidate has seen some of them, or cannot read a passage whole.
    """
    seen_questions.refuse(candidate, examples)
    rows = kb.live_rows()
    chunks = kb.chunks(rows)
    left: Counter[str] = Counter()
    right: list[set[int]] = []
    asked: list[Example] = []
    for one in examples:
        found = {place for place, chunk in enumerate(chunks) if is_right(chunk, one)}
        if found:
            asked.append(one)
            right.append(found)
        else:
            left["questions whose passage is not in the knowledge base"] += 1
    if not asked:
        raise DataError(f"none of the {len(examples)} questions has its passage in {kb.path}: nothing can be judged")
    texts = [chunk.indexed_text for chunk in chunks]
    vectors = np.empty((len(texts), candidate.dim), dtype=np.float32)
    for start in range(0, len(texts), _BATCH):
        vectors[start : start + _BATCH] = candidate.encode_passages(texts[start : start + _BATCH])
        if on_progress is not None:
            on_progress(min(len(texts), start + _BATCH), len(texts))
    old = _ranks(kb.encoder, kb.vectors(rows), asked, right)
    new = _ranks(candidate, vectors, asked, right)
    clusters = [chunks[min(places)].document for places in right]
    return Trial(judge(old, new, clusters, figure=f"MRR@{_K}", tried=tried), left)


def _ranks(
    encoder: Encoder, passages: NDArray[np.float32], asked: Sequence[Example], right: Sequence[set[int]]
) -> list[float]:
    """Reciprocal rank of the first right passage of each question."""
    queries = encoder.encode_queries([fit_query(encoder, one.query)[0] for one in asked])
    found = []
    for query, places in zip(queries, right, strict=True):
        scores = passages @ query
        best = max(float(scores[place]) for place in places)
        rank = 1 + int((scores > best).sum())
        found.append(1.0 / rank if rank <= _K else 0.0)
    return found
