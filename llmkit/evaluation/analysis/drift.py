"""Whether the questions that come are still like those a threshold was learnt on: two alarms that may ring at any time.

Both bet against "nothing has changed" and ring when the winnings reach 1 / false alarms; by Ville's inequality that
happens, ever, with at most that probability where nothing has changed.

* Confidence alone, no labels: conformal test martingales (Vovk 2021, "Testing randomness online"). Each new confidence
  is ranked among all before it, the calibration's first; where nothing has changed the ranks are uniform.
* Labels: is the share of wrong answers above what was promised? A betting martingale (Waudby-Smith & Ramdas 2023).
"""

from __future__ import annotations

import bisect
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from llmkit.errors import DataError

_RANK_BETS = (-1.8, -1.2, -0.6, 0.6, 1.2, 1.8)
_LABEL_BETS = (0.1, 0.25, 0.5, 0.9)  # shares of the largest bet that cannot lose everything


@dataclass(frozen=True, slots=True)
class Alarm:
    """What the betting came to."""

    seen: int
    rang_at: int | None
    """How many had come when it rang; None: it did not."""
    evidence: float
    """The most that was won, as a factor of the stake; it rings at 1 / false alarms."""
    needed: float


def scores_drift(before: Sequence[float], after: Sequence[float], false_alarms: float = 0.05, seed: int = 0) -> Alarm:
    """Whether confidences have shifted, up or down.

    Args:
        before: those of the calibration, all answers the pipeline gave.
        after: those that came since, in order, all answers the pipeline gave.
        false_alarms: probability of ringing ever though nothing has changed.
        seed: breaks ties between equal confidences.

    Raises:
        DataError: nothing to compare with.
    """
    if not before:
        raise DataError("the calibration holds no confidences to compare with")
    seen = sorted(before)
    chance = random.Random(seed)  # noqa: S311
    ranks = []
    for value in after:
        low, high = bisect.bisect_left(seen, value), bisect.bisect_right(seen, value)
        ranks.append((low + chance.random() * (high - low + 1)) / (len(seen) + 1))
        seen.insert(high, value)
    return _bet([[1 + bet * (rank - 0.5) for bet in _RANK_BETS] for rank in ranks], false_alarms)


def labels_drift(wrong: Sequence[bool], error: float, false_alarms: float = 0.05) -> Alarm:
    """Whether more than `error` of the answers given are wrong.

    Args:
        wrong: of answers that were given and looked at, in order; which are looked at must not depend on being wrong.
        error: what was promised.
        false_alarms: probability of ringing ever though the promise is kept.
    """
    return _bet([[1 + share / error * (float(one) - error) for share in _LABEL_BETS] for one in wrong], false_alarms)


def _bet(factors: Sequence[Sequence[float]], false_alarms: float) -> Alarm:
    """A stake spread evenly over some bets, kept to the end; `factors` by time and bet."""
    needed = 1 / false_alarms
    logs: list[float] = []
    most, rang = 1.0, None
    for n, row in enumerate(factors, 1):
        logs = [old + math.log(factor) for old, factor in zip(logs or [0.0] * len(row), row, strict=True)]
        top = max(logs)
        won = math.exp(min(700.0, top + math.log(sum(math.exp(one - top) for one in logs) / len(logs))))
        most = max(most, won)
        if rang is None and won >= needed:
            rang = n
    return Alarm(len(factors), rang, most, needed)
