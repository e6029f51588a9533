"""Which index: the shortest codes whose recall is certain enough, at the settings that search them fastest.

One half of the held-out queries chooses codes, lists to look into and rows to score again; the other half, which had
no say in that, certifies. Each further attempt to certify is held to half the error of the one before, so that the
confidence holds for all of them together.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmkit.errors import KnowledgeError
from llmkit.knowledge.local.ann import faiss_build as coding
from llmkit.knowledge.local.ann.ann_index import CodedIndex, propose
from llmkit.knowledge.local.vectors.flat_index import half_precision
from llmkit.knowledge.local.vectors.row_store import StoredRows
from llmkit.knowledge.recall_bound import CONFIDENCE, Certificate, K, lower_bound
from llmkit.knowledge.vector_settings import VectorSettings

_DEPTHS = (20, 40, 80, 160, 320, 640)
_PROBES = (4, 8, 16, 32, 64, 128, 256, 512, 1024)
_TIMED = 24


@dataclass(frozen=True, slots=True)
class Questions:
    """Queries that no index was trained on."""

    vectors: NDArray[np.float32]
    """Unit vectors, (n, dim)."""
    source: str
    """Where they came from."""
    rows: NDArray[np.int64]
    """Positions of the rows they were taken from, which no code is trained on; may be empty."""


@dataclass(frozen=True, slots=True)
class _Setting:
    probes: int
    depth: int
    milliseconds: float


def choose(
    rows: StoredRows, questions: Questions, settings: VectorSettings, tell: Callable[[str], None] = lambda text: None
) -> tuple[Any, Certificate, list[Certificate]]:
    """The index, what is certain about it, and every one that was tried, in order of length.

    Where none reaches the target, and where it is 1, every row is scanned and the search is exact.
    """
    tried: list[Certificate] = []
    structure = settings.structure or ("flat" if settings.recall >= 1 else "ivf")
    half = len(questions.vectors) // 2
    if structure != "flat" and settings.recall < 1 and half:
        queries = questions.vectors[:half], questions.vectors[half:]
        tell(f"finding the exact neighbours of {len(questions.vectors)} held-out queries")
        truth = [np.array([found for _, found in _exact(rows, some)]) for some in queries]
        attempts = 0
        for name, index, size, lists in _candidates(rows, questions, settings, structure, tell):
            offered = _settings(rows, index, structure, lists, queries[0], truth[0], settings.recall)
            for offer in offered or [_Setting(_top(structure, lists), _DEPTHS[-1], 0.0)]:
                attempts += 1 if offered else 0
                hits = _recalls(rows, index, structure, offer.probes, queries[1], truth[1], offer.depth)
                low = lower_bound(hits, (1 - CONFIDENCE) / 2 ** max(attempts, 1))
                certificate = Certificate(
                    structure, name, size, float(hits.mean()) if len(hits) else 0.0, low, len(hits),
                    questions.source, settings.recall, offer.depth, offer.probes, lists, offer.milliseconds,
                    certified=bool(offered) and low >= settings.recall,
                )  # fmt: skip
                tried.append(certificate)
                if certificate.certified:
                    return index, certificate, tried
    tell("scanning everything: exact")
    index = coding.scan(rows, half_precision)
    exact = Certificate("flat", "float16", 2.0 * rows.dim, 1.0, 1.0, 0, "proof", settings.recall)
    return index, exact, [*tried, exact]


def _candidates(
    rows: StoredRows, questions: Questions, settings: VectorSettings, structure: str, tell: Callable[[str], None]
) -> Iterator[tuple[str, Any, float, int]]:
    """Codes, an index of them, bytes a vector, number of lists."""
    names = [settings.codes] if settings.codes else list(coding.CODES)
    names = [name for name in names if coding.usable(name, structure, rows.dim, rows.runs.size)]
    if settings.codes and not names:
        raise KnowledgeError(
            f"codes {settings.codes} need vectors of a multiple of eight numbers and 4096 of them; these are "
            f"{rows.runs.size} of {rows.dim}"
        )
    if structure == "hnsw":
        for name in names:
            tell(f"linking {rows.runs.size} rows, codes {name}")
            yield name, coding.graph(rows, name), coding.graph_bytes(rows, name), 0
        return
    if names:
        tell(f"sorting {rows.runs.size} rows into lists")
        lists = coding.Lists(rows, questions.rows)
    for name in names:
        tell(f"trying codes {name}")
        index = lists.filled(name)
        yield name, index, lists.bytes_per_vector(index), lists.count


def _top(structure: str, lists: int) -> int:
    return min(_PROBES[-1], lists) if structure == "ivf" else _DEPTHS[-1]


def _settings(
    rows: StoredRows,
    index: Any,
    structure: str,
    lists: int,
    queries: NDArray[np.float32],
    truth: NDArray[np.int64],
    target: float,
) -> list[_Setting]:
    """Settings that reach the target on the queries that choose: the fastest, then the most generous."""
    ladder = sorted({min(probes, lists) for probes in _PROBES}) if structure == "ivf" else list(_DEPTHS)
    found: list[_Setting] = []
    for probes in ladder:
        depths = [depth for depth in _DEPTHS if structure == "ivf" or depth <= probes]
        places = _places(rows, index, structure, probes, queries, truth, depths[-1])
        enough = [depth for depth in depths if lower_bound((places < depth).mean(axis=1)) >= target]
        if enough:
            setting = Certificate(structure, "", 0, 0, 0, 0, "", 0, enough[0], probes, lists)
            found.append(_Setting(probes, enough[0], _milliseconds(CodedIndex(rows, index, setting), queries)))
        if len(found) == 3:
            break
    if not found:
        return []
    generous = _Setting(found[-1].probes, min(2 * max(one.depth for one in found), _DEPTHS[-1]), 0.0)
    setting = Certificate(structure, "", 0, 0, 0, 0, "", 0, generous.depth, generous.probes, lists)
    timed = _Setting(generous.probes, generous.depth, _milliseconds(CodedIndex(rows, index, setting), queries))
    return [min(found, key=lambda one: one.milliseconds), timed]


def _exact(rows: StoredRows, queries: NDArray[np.float32]) -> list[tuple[Any, NDArray[np.int64]]]:
    """The K nearest of all rows that live; rows that died are in the codes, and masked when searched."""
    width = min(K, rows.live.count)
    return rows.scan(queries, width)


def _places(
    rows: StoredRows,
    index: Any,
    structure: str,
    probes: int,
    queries: NDArray[np.float32],
    truth: NDArray[np.int64],
    depth: int,
) -> NDArray[np.int64]:
    """At which place each true neighbour is proposed, (n, K); 2**40 where it is not."""
    depth = min(depth, rows.live.count)
    found = propose(index, structure, queries, depth, probes, rows.live)
    same = truth[:, :, None] == found[:, None, :]
    return np.where(same.any(axis=2), same.argmax(axis=2), 2**40)


def _recalls(
    rows: StoredRows,
    index: Any,
    structure: str,
    probes: int,
    queries: NDArray[np.float32],
    truth: NDArray[np.int64],
    depth: int,
) -> NDArray[np.float64]:
    """Share of the true neighbours proposed for each query, which is its recall: single precision ranks them."""
    places = _places(rows, index, structure, probes, queries, truth, depth)
    shares: NDArray[np.float64] = (places < depth).mean(axis=1)
    return shares


def _milliseconds(index: CodedIndex, queries: NDArray[np.float32]) -> float:
    times = []
    for query in queries[:_TIMED]:
        begun = time.perf_counter()
        index.search(query[None], K)
        times.append(time.perf_counter() - begun)
    return 1000 * float(np.median(times)) if times else 0.0
