"""The check of support against people's labels: ROC-AUC of its score, balanced accuracy of its verdict.

    python benchmarks/groundedness.py [--data FOLDER] [--rounds 2000]

The data sets are looked for in LLMKIT_DATA, then ../shared/data: BEGIN (Dziri et al. 2022, three parts: wow and cmu
CC BY 4.0, topicalchat CDLA-Sharing-1.0) and SummEdits (Laban et al. 2023, Apache-2.0), scitldr and qmsumm.

Three numbers stand for a response: the mean score of its sentences (the metric `groundedness`), the share of its
sentences that are supported (the metric `citations`, figure `grounded`), and the verdict: whether every sentence is
supported (the step `ground`). Intervals are percentile bootstraps over contexts: the 466 summaries of scitldr share 17
contexts, the 431 of qmsumm 16.

Nothing is fitted. The threshold with the best balanced accuracy is chosen on the part wow of BEGIN and reported on
every other part and set, beside the threshold that ships. The form of the score was chosen with all sets in view: its
AUC is that of a development set.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.stats import rankdata

from llmkit.grounding import THRESHOLD, Passage, Support, judge_sentences

CHOSEN_ON = "begin wow"
GRID = np.round(np.arange(0.5, 1.001, 0.05), 2)
Measure = Callable[[np.ndarray, np.ndarray], float]


class Set:
    """Labels, contexts and judgements of the responses of one set."""

    def __init__(self, name: str, rows: list[dict]) -> None:
        contexts = {row["context"]: Passage(row["context"]) for row in rows}
        self.name = name
        self.labels = np.array([row["label"] for row in rows])
        self.context = np.unique([row["context"] for row in rows], return_inverse=True)[1]
        self.judged: list[list[Support]] = [judge_sentences(row["response"], contexts[row["context"]]) for row in rows]

    @property
    def scores(self) -> np.ndarray:
        return np.array([np.mean([sentence.score for sentence in row]) for row in self.judged])

    @property
    def supported(self) -> np.ndarray:
        return np.array([np.mean([sentence.supported for sentence in row]) for row in self.judged])

    def verdicts(self, threshold: float) -> np.ndarray:
        """Whether every sentence reaches the threshold; a contradiction scores at most .5, below each of the grid."""
        return np.array([min(sentence.score for sentence in row) >= threshold for row in self.judged], dtype=float)

    def interval(self, measure: Measure, values: np.ndarray, rounds: int) -> tuple[float, float]:
        """Percentiles of a measure on resampled contexts."""
        rng = np.random.default_rng(0)
        members = [np.flatnonzero(self.context == context) for context in range(self.context.max() + 1)]
        drawn: list[float] = []
        while len(drawn) < rounds:
            rows = np.concatenate([members[context] for context in rng.integers(0, len(members), len(members))])
            if 0 < self.labels[rows].sum() < len(rows):
                drawn.append(measure(self.labels[rows], values[rows]))
        low, high = np.percentile(drawn, [2.5, 97.5])
        return float(low), float(high)


def auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Area under the ROC curve, from ranks (Hanley & McNeil 1982); ties count half."""
    ranks, good = rankdata(scores), int(labels.sum())
    return float((ranks[labels == 1].sum() - good * (good + 1) / 2) / (good * (len(labels) - good)))


def balanced_accuracy(labels: np.ndarray, verdicts: np.ndarray) -> float:
    """Mean of the shares of supported and of unsupported responses that are judged rightly; chance is .5."""
    return float((verdicts[labels == 1].mean() + (1 - verdicts[labels == 0]).mean()) / 2)


def load(folder: Path) -> list[Set]:
    """BEGIN as a whole and by part, and the two sets of SummEdits."""
    sets = []
    for name in ("begin-dev", "summedits-scitldr", "summedits-qmsumm"):
        with gzip.open(folder / "judge" / name / "items.jsonl.gz", "rt", encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
        sets.append(Set(name, rows))
        if name == "begin-dev":
            parts = {"wow": "begin wow", "cmu": "begin cmu", "tc": "begin topicalchat"}
            sets += [Set(parts[p], [row for row in rows if row["id"].split("-")[1] == p]) for p in parts]
    return sets


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    here = Path(__file__).resolve().parent.parent
    arguments.add_argument(
        "--data", type=Path, default=os.environ.get("LLMKIT_DATA") or here.parent / "shared" / "data"
    )
    arguments.add_argument("--rounds", type=int, default=2000)
    given = arguments.parse_args()
    sets = load(Path(given.data))
    source = next(one for one in sets if one.name == CHOSEN_ON)
    chosen = max(GRID, key=lambda threshold: balanced_accuracy(source.labels, source.verdicts(threshold)))
    print(f"threshold that ships: {THRESHOLD}; chosen on {CHOSEN_ON}: {chosen}")
    for one in sets:
        print(
            f"\n{one.name}: {len(one.labels)} responses, {one.labels.sum()} supported, {one.context.max() + 1} contexts"
        )
        lines: list[tuple[str, Measure, np.ndarray]] = [
            ("AUC of the mean score (groundedness)", auc, one.scores),
            ("AUC of the share supported (grounded)", auc, one.supported),
            (f"balanced accuracy of the verdict, threshold {THRESHOLD}", balanced_accuracy, one.verdicts(THRESHOLD)),
            (f"balanced accuracy of the verdict, threshold {chosen}", balanced_accuracy, one.verdicts(chosen)),
        ]
        for label, measure, values in lines:
            low, high = one.interval(measure, values, given.rounds)
            note = "above chance" if low > 0.5 else "BELOW chance" if high < 0.5 else "not told from chance"
            print(f"  {label:<52} {measure(one.labels, values):.3f} [{low:.3f}, {high:.3f}] {note}", flush=True)


if __name__ == "__main__":
    main()
