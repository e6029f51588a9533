"""Statistics: do intervals hold what they promise, do tests raise false alarms, is the announced power there."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.evaluation.analysis import statistics

SHARES = st.lists(st.floats(0, 1), min_size=2, max_size=60)


def f1_like(rng, n):
    """Many zeros, many ones, some between: how answers score. Mean 0.475."""
    kind = rng.random(n)
    return np.where(kind < 0.4, 0.0, np.where(kind < 0.75, 1.0, rng.beta(2, 2, n)))


@given(SHARES)
def test_an_interval_holds_its_mean_and_stays_in_bounds(values):
    found = statistics.mean_interval(values)
    assert 0 <= found.low <= found.mean + 1e-12
    assert found.mean - 1e-12 <= found.high <= 1
    assert found.n == found.clusters == len(values)


def test_values_that_are_all_the_same_still_leave_doubt():
    assert statistics.mean_interval([1.0] * 10).low == pytest.approx(0.7225, abs=1e-3)  # Wilson for 10 of 10
    found = statistics.mean_interval([0.5] * 100)
    assert found.low < 0.5 < found.high
    assert statistics.mean_interval([0.0] * 300, bounds=(-1.0, 1.0)).high == pytest.approx(0.0126, abs=1e-3)


def test_one_value_or_one_cluster_says_nothing():
    assert statistics.mean_interval([0.3]).low is None
    found = statistics.mean_interval([0.1, 0.9, 0.4], ["a", "a", "a"])
    assert (found.low, found.high, found.clusters) == (None, None, 1)


def test_samples_of_one_document_widen_the_interval():
    values = np.repeat([0.0, 1.0] * 30, 10)
    alone = statistics.mean_interval(values)
    together = statistics.mean_interval(values, [str(i // 10) for i in range(600)])
    assert together.high - together.low > 2.5 * (alone.high - alone.low)


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("name", "draw", "truth"),
    [
        ("all or nothing", lambda rng: ((rng.random(300) < 0.6).astype(float), None), 0.6),
        ("between", lambda rng: (f1_like(rng, 200), None), 0.475),
        ("few", lambda rng: (f1_like(rng, 30), None), 0.475),
    ],
)
def test_intervals_hold_the_truth_as_often_as_they_say(name, draw, truth):
    rng = np.random.default_rng(7)
    held = 0
    for _ in range(2000):
        values, clusters = draw(rng)
        found = statistics.mean_interval(values, clusters)
        held += found.low <= truth <= found.high
    assert 0.94 <= held / 2000 <= 0.965, name


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_two_thousand_comparisons_of_equals_raise_few_alarms():
    rng = np.random.default_rng(3)
    alarms = 0
    for _ in range(2000):
        base = f1_like(rng, 100)
        swap = rng.random(100) < 0.3
        other = np.where(swap, f1_like(rng, 100), base)
        alarms += statistics.paired(base, other).p < 0.05
    assert alarms / 2000 <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 2000)  # the rate is 5 %, the count has noise of its own


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_planted_difference_is_found_as_often_as_announced():
    rng = np.random.default_rng(5)
    deviation, drop = 0.5, 0.05
    n = next(n for n in range(100, 5000) if statistics.detectable(n, deviation) <= drop)
    found = 0
    for _ in range(400):
        z = rng.random(n)  # disagree on a quarter, so that the mean is -0.05 and the deviation 0.5
        difference = np.where(z < 0.15125, -1.0, np.where(z < 0.2525, 1.0, 0.0))
        assert abs(0.15125 - 0.10125 - drop) < 1e-9
        found += statistics.paired(np.zeros(n), difference).p < 0.05
    assert 0.75 <= found / 400 <= 0.87


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_never_lowers_a_p_value_and_keeps_the_order(p):
    corrected = statistics.holm(p)
    assert all(a <= b <= 1 for a, b in zip(p, corrected, strict=True))
    assert sorted(range(len(p)), key=lambda i: p[i]) == sorted(range(len(p)), key=lambda i: (corrected[i], p[i]))
    assert min(corrected) == pytest.approx(min(1.0, len(p) * min(p)))


def test_pairs_count_wins_and_the_sign_is_b_minus_a():
    found = statistics.paired([0, 0, 1, 1], [1, 1, 1, 0])
    assert (found.wins, found.ties, found.losses) == (2, 1, 1)
    assert found.difference.mean == 0.25
    assert statistics.paired([0.2, 0.4], [0.2, 0.4]).p == 1.0
    with pytest.raises(ValueError, match="two values each"):
        statistics.paired([1], [1, 2])


def test_p_is_exact_for_few_differences():
    assert statistics.paired([0] * 6, [1] * 6).p == pytest.approx(2 / 2**6)
    assert statistics.paired([0] * 6, [1] + [0] * 5).p == 1.0
    assert statistics.paired([0, 1], [1, 0], ["a", "a"]).p == 1.0


def test_flakes_are_samples_whose_repeats_disagree():
    assert statistics.flake_rate([[1, 1], [1, 0], [0]]) == 0.5
    assert statistics.flake_rate([[1], [0]]) is None
