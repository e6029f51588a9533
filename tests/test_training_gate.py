"""The gate lets no noise through, and a real gain as often as the statistics promise."""

from __future__ import annotations

import numpy as np
import pytest

from llmkit.errors import DataError
from llmkit.evaluation.analysis.statistics import detectable
from llmkit.training.significance_gate import judge

RANKS = np.array([1, 1 / 2, 1 / 3, 1 / 5, 1 / 10, 0])


def no_signal(rng, n):
    """Both systems rank by the same chances; they agree on most questions, as two encoders of one family do."""
    old = rng.choice(RANKS, n, p=[0.5, 0.15, 0.1, 0.1, 0.05, 0.1])
    other = rng.choice(RANKS, n, p=[0.5, 0.15, 0.1, 0.1, 0.05, 0.1])
    return old, np.where(rng.random(n) < 0.3, other, old)


@pytest.mark.slow
@pytest.mark.parametrize(("n", "clustered"), [(30, False), (120, False), (120, True)])
def test_noise_is_refused(n, clustered):
    """334 trials of each kind, 1,002 in all: at least 95 % refused."""
    rng = np.random.default_rng(n + clustered)
    adopted = 0
    for _ in range(334):
        old, new = no_signal(rng, n)
        clusters = None
        if clustered:  # questions of one document win and lose together
            owner = rng.integers(0, n // 4, n)
            sign = rng.choice([-1, 1], n // 4)[owner]
            new = np.clip(old + sign * np.abs(new - old), 0, 1)
            clusters = [str(one) for one in owner]
        adopted += judge(old, new, clusters).adopted
    assert adopted <= 0.05 * 334


@pytest.mark.slow
def test_a_real_gain_of_the_stated_size_is_found_four_times_in_five():
    rng = np.random.default_rng(0)
    n, share = 150, 0.3  # of the questions change; a gain makes most of the changes good ones
    gain = detectable(n, np.sqrt(share) * 0.5)
    accepted = []
    for _ in range(150):
        moved = rng.random(n) < share
        up = rng.random(n) < 0.5 + gain / share
        new = 0.5 + np.where(moved, np.where(up, 0.5, -0.5), 0.0)
        accepted.append(judge(np.full(n, 0.5), new).adopted)
    assert 0.65 <= np.mean(accepted) <= 0.95


def test_what_is_decided_is_said():
    old = np.zeros(40)
    new = np.r_[np.ones(20), np.zeros(20)]
    verdict = judge(old, new)
    assert verdict.adopted
    assert "adopted: MRR@10 0.000 → 0.500" in str(verdict)
    assert "20 better, 20 equal, 0 worse" in str(verdict)
    same = judge(old, old, figure="recall@5")
    assert not same.adopted
    assert "the old one stays" in str(same)
    assert not judge(new, old).adopted, "a loss is no gain"


def test_three_lucky_questions_are_not_enough():
    new = np.zeros(50)
    new[:3] = 1
    verdict = judge(np.zeros(50), new)
    assert verdict.comparison.difference.low > 0, "the interval alone would let it through"
    assert not verdict.adopted


def test_many_candidates_on_the_same_questions_need_more_evidence():
    new = np.r_[np.ones(8), np.zeros(40)]
    assert judge(np.zeros(48), new).adopted
    assert not judge(np.zeros(48), new, tried=20).adopted


@pytest.mark.parametrize("wrong", [([], []), ([0.5], [1.5]), ([0.5], [float("nan")])])
def test_figures_that_are_none_are_refused(wrong):
    with pytest.raises(DataError):
        judge(*wrong)
