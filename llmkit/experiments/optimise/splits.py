"""Three parts of a task's samples for a search: to learn from, to race on, and held back for the end.

Samples of one cluster stay together. What is held back depends on the task alone, not on the seed: however often one
searches, it stays unseen. How often it was used to judge is written down, and every use makes the next one stricter.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from llmkit.errors import DataError
from llmkit.evaluation.runs.run_digest import digest
from llmkit.evaluation.runs.run_folder import append_line, read_lines
from llmkit.types import Sample


@dataclass(frozen=True)
class Split:
    """Ids of samples."""

    learn: tuple[str, ...]
    raced: tuple[str, ...]
    held: tuple[str, ...]
    clusters: int
    """Groups among those held back."""


def split(samples: Sequence[Sample], of: str, learn: float, held_back: float, seed: int) -> Split:
    """Cut the samples in three.

    Args:
        samples: of the task.
        of: digest of the samples; decides what is held back.
        learn: share to learn from.
        held_back: share that is held back.
        seed: of the rest's order.

    Raises:
        DataError: too few to leave two groups in every part.
    """
    if learn + held_back >= 1:
        raise DataError(f"learn {learn:g} and held_back {held_back:g} leave no samples to race on")
    groups: dict[str, list[str]] = {}
    for sample in samples:
        groups.setdefault(sample.cluster or sample.id, []).append(sample.id)
    names = sorted(groups)
    random.Random(of).shuffle(names)  # noqa: S311
    cut = round(held_back * len(names))
    held, rest = names[:cut], names[cut:]
    random.Random(seed).shuffle(rest)  # noqa: S311
    first = round(learn * len(names))
    parts = [held, rest[:first], rest[first:]]
    if min(len(part) for part in parts) < 2:
        raise DataError(f"{len(names)} independent samples are too few to learn from, race on and hold back")
    ids = [tuple(name for group in part for name in groups[group]) for part in parts]
    return Split(ids[1], ids[2], ids[0], len(held))


class HeldBack:
    """A file that remembers which candidates were judged on which held-back samples."""

    def __init__(self, path: Path, held: Sequence[str], figure: str) -> None:
        self.path = path
        self.name = digest([sorted(held), figure])

    def level(self, runs: Sequence[str], delta: float) -> tuple[int, float]:
        """Which use of the samples this is, from 1, and the confidence its interval must have.

        The k-th use may be wrong in favour of the candidate with probability δ / (k (k + 1)), all uses together with
        probability δ; the first has the usual interval of level 1 - δ.
        """
        uses = self._uses()
        key = digest(list(runs))
        k = uses.index(key) + 1 if key in uses else len(uses) + 1
        return k, 1 - 2 * delta / (k * (k + 1))

    def use(self, runs: Sequence[str]) -> None:
        """Write a use down, before anybody looks.

        Raises:
            DataError: it cannot be written.
        """
        key = digest(list(runs))
        if key not in self._uses():
            append_line(self.path, json.dumps({"held_back": self.name, "candidate": key}))

    def _uses(self) -> list[str]:
        rows = [json.loads(line) for line in read_lines(self.path)]
        return [row["candidate"] for row in rows if row["held_back"] == self.name]
