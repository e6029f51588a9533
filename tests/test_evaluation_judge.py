"""The judge, and the judge of judges."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from evaluation import make_task
from hypothesis import given
from hypothesis import strategies as st

from llmkit.errors import ConfigError, DataError
from llmkit.evaluation.analysis.judge_calibration import auc, calibrate, kappa, prediction_powered
from llmkit.evaluation.metrics.judge import Judge
from llmkit.models.scripted import ScriptedChat
from llmkit.types import Answer, Chunk, Hit, Sample, State


def judged(script, *, votes=3, passages=("one", "two", "three"), answer="It is so."):
    model = ScriptedChat(script)
    judge = Judge(model="scripted:x", votes=votes).with_models(lambda _: model)
    hits = tuple(Hit(Chunk(name, 0, 0, len(name), name, 1), 1.0) for name in passages)
    return judge.score(Sample("1", "q"), State("q", hits=hits, answer=Answer(answer)))["judged"], model


def honest(messages):
    """Reads the choices and takes the one that says `supports`."""
    return re.search(r"^([AB]): The evidence supports", messages[-1].text, re.MULTILINE).group(1)


def test_votes_are_read_by_what_the_letter_stands_for():
    score, model = judged(honest)
    assert score.value == 1.0
    assert len(model.calls) == 3
    score, _ = judged(lambda messages: "B" if honest(messages) == "A" else "A")
    assert score.value == 0.0


@pytest.mark.parametrize("letter", ["A", "B"])
def test_a_judge_that_loves_a_place_decides_nothing(letter):
    score, _ = judged(lambda _: letter, votes=4)
    assert score.value == 0.5


def test_passages_and_choices_come_in_mixed_order():
    _, model = judged(honest, votes=16)
    seen = {re.search(r"Evidence:\n(.*?)\n\nAnswer", call[-1].text, re.DOTALL).group(1) for call in model.calls}
    assert len(seen) >= 4
    assert {call[-1].text.index("supports") < call[-1].text.index("does not support") for call in model.calls} == {
        True,
        False,
    }


@pytest.mark.parametrize(
    ("reply", "read"),
    [("A", True), (" b.", True), ("**A**", True), ("Answer: B", True), ("A or B", False), ("Yes", False), ("", False),
     ("I think that A", False)],
)  # fmt: skip
def test_a_reply_is_one_letter_or_nothing(reply, read):
    score, _ = judged(lambda _: reply, votes=1)
    assert (score.value is not None) == read
    if not read:
        assert score.reason == "1 of 1 votes could not be read"


def test_abstentions_and_missing_passages_are_not_judged():
    judge = Judge(model="scripted:A")
    assert judge.score(Sample("1", "q"), State("q", answer=Answer("no", abstained=True))) == {}
    assert judge.score(Sample("1", "q"), State("q", answer=Answer("yes")))["judged"].reason
    assert judge.score(Sample("1", "q"), State("q"))["judged"].reason


def test_a_judge_needs_its_variables():
    with pytest.raises(ConfigError, match="expected"):
        make_task(".", metrics=[{"type": "judge", "model": "scripted:A", "prompt": "answer@v1"}], primary="")


SCORED = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=2, max_size=60).filter(
    lambda rows: len({label for _, label in rows}) == 2
)


@given(SCORED)
def test_auc_is_the_chance_of_the_right_order(rows):
    good = [score for score, label in rows if label]
    bad = [score for score, label in rows if not label]
    by_hand = np.mean([(a > b) + 0.5 * (a == b) for a in good for b in bad])
    assert auc(np.array([s for s, _ in rows]), np.array([int(y) for _, y in rows])) == pytest.approx(by_hand)


def test_kappa_by_hand():
    assert kappa([True] * 4, [True] * 4) == 0.0
    a = [True] * 25 + [False] * 25
    b = [True] * 20 + [False] * 5 + [True] * 10 + [False] * 15
    assert kappa(a, b) == pytest.approx(0.4)


def test_a_perfect_and_a_useless_judge_are_told_apart(tmp_path):
    rng = np.random.default_rng(0)
    rows = []
    for n in range(60):
        label = int(rng.integers(0, 2))
        response = "The pump is serviced in May." if label else f"The pump was stolen in {1900 + n}."
        rows.append(
            {"id": str(n), "context": "The pump is serviced in May by Ann.", "response": response, "label": label}
        )
    (tmp_path / "r.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    dataset = {"type": "rows", "path": str(tmp_path / "r.jsonl"), "question": "Judge: $id", "answers": None}
    metrics = [{"type": "judge", "model": "scripted:A", "votes": 2}]
    task = make_task(tmp_path, dataset=dataset, metrics=metrics, primary="", knowledge="none", calibration={})
    perfect = ScriptedChat(
        lambda m: honest(m) if "serviced in May." in m[-1].text.partition("Answer:")[2] else "AB"[honest(m) == "A"]
    )
    (found,) = calibrate(task.with_models(lambda _: perfect))
    assert (found.n, found.auc.mean, found.kappa, found.agreement.mean) == (60, 1.0, 1.0, 1.0)
    (found,) = calibrate(task.with_models(lambda _: ScriptedChat(lambda _: "A")))
    assert found.auc.mean == 0.5
    assert found.kappa == 0.0
    with pytest.raises(DataError, match="no human labels"):
        calibrate(task.replace(calibration=None))


def test_a_label_must_be_a_label(tmp_path):
    (tmp_path / "r.jsonl").write_text('{"id": "1", "context": "c", "response": "r", "label": "maybe"}\n')
    dataset = {"type": "rows", "path": str(tmp_path / "r.jsonl"), "question": "Judge: $id", "answers": None}
    task = make_task(tmp_path, dataset=dataset, metrics=["citations"], primary="", calibration={})
    with pytest.raises(DataError, match="a label is 1"):
        calibrate(task)


@pytest.mark.parametrize(("hit", "miss"), [(0.9, 0.2), (0.6, 0.5)])
def test_a_corrected_mean_holds_the_truth_whatever_the_judge(hit, miss):
    rng = np.random.default_rng(1)
    held, width, alone = 0, [], []
    for _ in range(600):
        truth = (rng.random(600) < 0.7).astype(float)
        judge = np.where(truth > 0, rng.random(600) < hit, rng.random(600) < miss).astype(float)
        _, low, high = prediction_powered(judge[60:], judge[:60], truth[:60])
        held += low <= 0.7 <= high
        width.append(high - low)
        alone.append(2 * 1.96 * np.std(truth[:60], ddof=1) / np.sqrt(60))
    assert 0.92 <= held / 600 <= 0.97
    assert np.mean(width) <= np.mean(alone) * 1.01


def test_a_correction_needs_labels():
    with pytest.raises(DataError, match="two labels"):
        prediction_powered([0.5], [1.0], [1.0])
