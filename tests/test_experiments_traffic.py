"""Arms on live traffic: little regret, exact propensities, a log that survives."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.errors import DataError
from llmkit.experiments.traffic import Greedy, Thompson, Traffic, value_of

MEANS = np.array([0.5, 0.6, 0.75, 0.4])


def regret(policy, seed, requests=1500):
    """Lost reward against always choosing the best, by the requests seen."""
    chance = np.random.default_rng(seed)
    sums, counts, lost = np.zeros(4), np.zeros(4, dtype=np.int64), [0.0]
    for n in range(requests):
        if n % 10 == 0 or n < 20:  # as if rewards came in tens
            chances = policy.chances(sums, counts)
        arm = chance.choice(4, p=chances)
        sums[arm] += chance.random() < MEANS[arm]
        counts[arm] += 1
        lost.append(lost[-1] + MEANS.max() - MEANS[arm])
    return lost


@pytest.mark.parametrize(("policy", "most"), [(Thompson(0.0), 0.35), (Greedy(0.1), 0.5)], ids=["thompson", "greedy"])
def test_regret_is_a_fraction_of_that_of_chance(policy, most):
    by_chance = 1500 * (MEANS.max() - MEANS.mean())
    found = [regret(policy, seed) for seed in range(6)]
    assert np.mean([lost[-1] for lost in found]) < most * by_chance


def test_regret_of_thompson_flattens():
    found = np.mean([regret(Thompson(0.0), seed) for seed in range(6)], axis=0)
    assert found[1500] - found[1000] < 0.5 * found[500]


def test_thompson_draws_as_often_as_draws_win():
    sums, counts = np.array([3.0, 8.0, 0.0]), np.array([5, 12, 0])
    chance = np.random.default_rng(0)
    wins = np.bincount(chance.beta(1 + sums, 1 + counts - sums, size=(100_000, 3)).argmax(axis=1), minlength=3) / 1e5
    assert np.abs(Thompson(0.0).chances(sums, counts) - wins).max() < 0.01


@given(st.lists(st.tuples(st.integers(0, 3000), st.floats(0, 1)), min_size=2, max_size=6), st.floats(0, 0.5))
def test_chances_are_chances_and_none_is_below_the_floor(seen, floor):
    counts = np.array([n for n, _ in seen])
    sums = np.array([n * share for n, share in seen])
    for policy in (Thompson(floor), Greedy(max(floor, 1e-3))):
        chances = policy.chances(sums, counts)
        assert abs(chances.sum() - 1) < 1e-9
        assert chances.min() >= min(floor, 1 / len(seen)) * (1 if policy.name == "thompson" else 1 / len(seen)) - 1e-12


def test_a_log_holds_a_line_a_decision_and_is_picked_up_where_it_was(tmp_path):
    traffic = Traffic(["a", "b"], tmp_path / "t.jsonl", seed=1)
    first, second = traffic.choose(), traffic.choose()
    traffic.reward(first.id, 1.0)
    rows = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text().splitlines()]
    assert [row.get("arm") for row in rows] == [first.arm, second.arm, None]
    assert rows[0]["propensity"] == first.propensity == 0.5
    with (tmp_path / "t.jsonl").open("a") as file:
        file.write('{"reward": "cut sho')  # a crash
    again = Traffic(["a", "b"], tmp_path / "t.jsonl")
    assert (again.counts.sum(), again.waiting) == (1, 1)
    again.reward(second.id, 0.0)
    assert traffic.choose().id
    assert traffic.counts.sum() == 2
    for decision, value, says in [(first.id, 1, "no decision"), ("x", 1, "no decision"), (first.id, 2, "from 0 to 1")]:
        with pytest.raises(DataError, match=says):
            again.reward(decision, value)
    assert Traffic(["a", "c"], tmp_path / "t.jsonl").counts.tolist() == [
        int(first.arm == "a") + int(second.arm == "a"),
        0,
    ]
    (tmp_path / "t.jsonl").write_text("{}\nnot json\n")
    with pytest.raises(DataError, match="at byte 0"):
        Traffic(["a", "b"], tmp_path / "t.jsonl")
    with pytest.raises(DataError, match="two arms"):
        Traffic(["a", "a"], tmp_path / "u.jsonl")


def test_any_policy_can_be_judged_from_the_log(tmp_path):
    chance = np.random.default_rng(3)
    traffic = Traffic(["good", "bad"], tmp_path / "t.jsonl", Greedy(0.4), seed=2)
    for _ in range(400):
        choice = traffic.choose()
        traffic.reward(choice.id, float(chance.random() < (0.8 if choice.arm == "good" else 0.3)))
    for arm, truth in (("good", 0.8), ("bad", 0.3)):
        value, error, n = value_of(tmp_path / "t.jsonl", arm)
        assert abs(value - truth) < 4 * error
        assert n == 400
    with pytest.raises(DataError, match="did you mean 'good'"):
        value_of(tmp_path / "t.jsonl", "goood")


def test_two_processes_and_a_kill_lose_no_decision(tmp_path):
    log = tmp_path / "t.jsonl"
    code = (
        "import sys\nfrom llmkit.experiments.traffic import Greedy, Traffic\n"
        f"t = Traffic(['a', 'b'], {str(log)!r}, Greedy())\n"
        "while True:\n    c = t.choose(); print(c.id, flush=True); t.reward(c.id, 1.0)\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    told = [[process.stdout.readline().strip() for _ in range(5)] for process in running]
    time.sleep(0.1)
    for process in running:
        os.kill(process.pid, signal.SIGKILL)
        told.append(
            [line.strip() for line in process.communicate()[0].splitlines(keepends=True) if line.endswith("\n")]
        )
    rows = [json.loads(line) for line in log.read_text().split("\n")[:-1]]
    assert {name for names in told for name in names} <= {row.get("decision") for row in rows}
    assert Traffic(["a", "b"], log).waiting <= 2
