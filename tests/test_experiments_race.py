"""Races: the evidence keeps its promise, whoever looks and whenever."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmkit.experiments.race.evidence import Evidence, interval
from llmkit.experiments.race.race import Race
from llmkit.experiments.race.strategies import LUCB, EpsilonGreedy, SuccessiveElimination, TopTwoThompson

STRATEGIES = [SuccessiveElimination(), LUCB(), TopTwoThompson(), EpsilonGreedy()]


def run(scores, strategy, seed=0, block=4, epsilon=0.02, budget=None):
    chance = np.random.default_rng(seed)
    order = chance.permutation(len(scores))
    race = Race(scores.shape[1], len(scores), epsilon=epsilon)
    while race.decision().kind == "undecided" and (budget is None or race.calls < budget):
        arms = strategy.next(race, chance)
        if not arms:
            break
        for arm in arms:
            seen = int(race.seen[arm])
            race.add_scores(arm, scores[order[seen : seen + block], arm])
    return race


def matrix(chance, items, means):
    """Right or wrong, items of a difficulty that all arms share."""
    luck = 0.6 * chance.random((items, 1)) + 0.4 * chance.random((items, len(means)))
    return np.stack([luck[:, n] < np.quantile(luck[:, n], mean) for n, mean in enumerate(means)], axis=1).astype(float)


def refutes(data, bound) -> bool:
    """Whether somewhere along the way the evidence spoke against "the mean is at most the bound", as a half of 1/20."""
    evidence = Evidence((1,), len(data), float(bound))
    for value in data:
        evidence.see(np.array([[value]]), np.array([True]))
    return evidence.peak[0] >= np.log(40) and data.mean() <= bound


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([-1.0, -0.5, 0.0, 0.5, 1.0]), min_size=1, max_size=40), st.randoms())
def test_an_interval_of_everything_is_the_mean_and_every_prefix_agrees_with_the_evidence(values, chance):
    chance.shuffle(values)
    data = np.array(values)
    low, high = interval(data, len(data), 0.05)
    if not refutes(data, data.mean() + 1e-6) and not refutes(-data, 1e-6 - data.mean()):  # what may happen, 1 in 20
        assert low - 1e-5 <= data.mean() <= high + 1e-5
        assert high - low < 1e-5
    evidence = Evidence((1,), len(data), -0.25)
    for value in data:
        evidence.see(np.array([[value]]), np.array([True]))
    assert (evidence.peak[0] == np.inf) == (data.mean() > -0.25 + 1e-9)
    at_once = Evidence((1,), len(data), -0.25)
    at_once.see(data[:, None], np.array([True]))
    assert at_once.peak[0] == pytest.approx(evidence.peak[0])


def test_evidence_against_what_is_true_is_rare():
    """Ville: with the bound exactly true, capital reaches 20 in at most one of 20 orders."""
    chance = np.random.default_rng(3)
    data = np.array([1.0] * 30 + [0.0] * 40 + [-1.0] * 30)
    orders = np.stack([chance.permutation(data) for _ in range(2000)], axis=1)
    evidence = Evidence((2000,), len(data))
    evidence.see(orders, np.ones(2000, dtype=bool))
    assert (evidence.peak >= np.log(20)).mean() < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 2000)


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda one: one.type)
def test_the_best_arm_wins_with_fewer_calls_than_the_grid(strategy):
    chance = np.random.default_rng(1)
    for seed in range(5):
        scores = matrix(chance, 200, [0.8, 0.6, 0.5, 0.4, 0.3, 0.2])
        race = run(scores, strategy, seed)
        decision = race.decision()
        assert (decision.kind, decision.best) == ("winner", 0)
        assert decision.calls < 0.7 * scores.size


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda one: one.type)
def test_equal_arms_are_a_tie(strategy):
    scores = np.repeat((np.random.default_rng(2).random((120, 1)) < 0.6).astype(float), 4, axis=1)
    decision = run(scores, strategy).decision()
    assert decision.kind == "tie"
    assert decision.left == (0, 1, 2, 3)


def test_wrong_by_more_than_epsilon_at_most_as_often_as_promised():
    """Arms so near that a guess is often wrong; 150 races."""
    chance = np.random.default_rng(5)
    wrong = 0
    for seed in range(150):
        scores = matrix(chance, 80, [0.55, 0.5, 0.5, 0.45])
        decision = run(scores, SuccessiveElimination(), seed).decision()
        means = scores.mean(axis=0)
        wrong += decision.kind != "undecided" and means.max() - means[decision.best] > 0.02 + 1e-9
    assert wrong / 150 <= 0.05


def test_a_small_budget_decides_nothing_and_says_so():
    scores = matrix(np.random.default_rng(6), 100, [0.6, 0.55])
    race = run(scores, SuccessiveElimination(), budget=16)
    decision = race.decision()
    assert decision.kind == "undecided"
    assert decision.calls == 16
    _, low, high = race.difference(0, 1)
    assert low < scores[:, 0].mean() - scores[:, 1].mean() < high


def test_missing_scores_only_raise_doubt():
    scores = matrix(np.random.default_rng(7), 60, [0.9, 0.2])
    scores[::2, 1] = np.nan  # could have been anything
    race = run(scores, SuccessiveElimination())
    whole = run(np.nan_to_num(scores, nan=1.0), SuccessiveElimination())
    assert race.calls >= whole.calls
    scores[:, 1] = np.nan
    assert run(scores, SuccessiveElimination()).decision().kind == "undecided"


def test_a_withdrawn_arm_neither_wins_nor_beats():
    scores = matrix(np.random.default_rng(8), 80, [0.5, 0.9, 0.1])
    race = Race(3, 80)
    race.withdraw(1)
    for arm in (0, 2):
        race.add_scores(arm, scores[:, arm])
    assert race.decision().best == 0
    assert race.out == {2: 0}


def test_scores_outside_the_unit_are_refused():
    race = Race(2, 5)
    with pytest.raises(ValueError, match="not in"):
        race.add_scores(0, np.array([2.0]))
    with pytest.raises(ValueError, match="after 0 of 5"):
        race.add_scores(0, np.zeros(6))


def test_no_arm_is_beaten_with_an_interval_that_holds_nothing():
    """The interval shown beside `beaten by` lies below 0 exactly where the arm is beaten, with missing scores too."""
    chance = np.random.default_rng(9)
    beaten = 0
    for seed in range(60):
        scores = matrix(chance, 60, [0.85, 0.6, 0.5, 0.2])
        scores[chance.random(scores.shape) < 0.1] = np.nan
        race = run(scores, SuccessiveElimination(), seed)
        for arm in range(4):
            for other in range(4):
                if arm != other and other not in race.withdrawn and arm not in race.withdrawn:
                    above = race.difference(other, arm)[1] > 0
                    assert above or race.out.get(arm) != other
                    beaten += race.out.get(arm) == other
    assert beaten >= 50


def test_whom_only_a_withdrawn_arm_had_beaten_is_in_again():
    scores = matrix(np.random.default_rng(10), 80, [0.5, 1.0, 0.45])
    race = Race(3, 80)
    for arm in range(3):
        race.add_scores(arm, scores[:60, arm])
    assert set(race.out.values()) == {1}
    race.withdraw(1)
    assert race.running == [0, 2]
    assert race.out == {}


def test_samples_without_a_score_are_counted():
    race = Race(2, 5)
    race.add_scores(0, np.array([1.0, np.nan, np.nan]))
    assert (race.missing(0), race.missing(1)) == (2, 0)
