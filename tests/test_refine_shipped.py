"""Every shipped pipeline of refinement on the task it is for, with a scripted model and the real data."""

from __future__ import annotations

import pytest
from evaluation import install

from llmkit.errors import SandboxError
from llmkit.evaluation.runs.plan import plan
from llmkit.evaluation.runs.reopen import reopen
from llmkit.evaluation.runs.replay import replay
from llmkit.evaluation.runs.run import evaluate
from llmkit.evaluation.tasks.task import load_task
from llmkit.pipeline import load_pipeline
from llmkit.sandbox.isolation import isolation

PAIRS = [
    ("refine-concepts", "commongen-hard", 9),
    ("best-of-concepts", "commongen-hard", 9),
    ("refine-instructions", "ifeval", 4),
    ("refine-instructions", "dialogue", 4),
    ("best-of-instructions", "ifeval", 4),
    ("refine-acronym", "acronyms", 4),
    ("refine-sentiment", "sentiment-reversal", 4),
    ("solve", "gsm8k", 3),
    ("solve-vote", "gsm8k", 5),
    ("refine", "dialogue", 8),
    ("code", "mbpp", 4),
    ("code-reflexion", "mbpp", 7),
]


def model(messages) -> str:
    """A critic that nags where it is asked, a writer that never gets it right."""
    if "Fill in this form" in messages[0].text:
        return "SCORE: 3\nACCEPT: no\nFEEDBACK: Say more."
    return f"Nothing, of use; said {len(messages[-1].text)} times, in {len(messages)} turns. 3 * 4 = 13"


@pytest.mark.parametrize(("name", "task", "most"), PAIRS, ids=lambda value: str(value))
def test_it_runs_within_its_calls_and_replays(name, task, most, data, tmp_path, monkeypatch):
    if "code" in name:
        try:
            isolation()
        except SandboxError as error:
            pytest.skip(str(error))
    monkeypatch.setenv("LLMKIT_DATA", str(data))
    install(monkeypatch, model)
    pipeline = load_pipeline(name, ["model.model=scripted:reader"])
    run = evaluate(plan(pipeline, load_task(task, ["limit=2"]), tmp_path / "runs"))
    summary = run.summary()
    assert (summary["ok"], summary["errors"]) == (2, 0), summary["failures"]
    assert 2 <= summary["tokens"]["calls"] <= 2 * most
    assert summary["metrics"][summary["decides"]]["mean"] is not None
    assert [(one.same, one.why) for one in replay(reopen(run.path))] == [(True, "")] * 2


def test_the_solutions_that_are_right_score_so(data, tmp_path, monkeypatch):
    try:
        isolation()
    except SandboxError as error:
        pytest.skip(str(error))
    monkeypatch.setenv("LLMKIT_DATA", str(data))
    task = load_task("mbpp", ["limit=3"])
    right = {sample.question: sample.fields["target"] for sample in task.dataset.samples()}
    install(
        monkeypatch,
        lambda messages: f"```python\n{right[messages[-1].text.partition('nothing else.')[2].strip()]}\n```",
    )
    summary = evaluate(plan(load_pipeline("code", ["model.model=scripted:reader"]), task, tmp_path / "runs")).summary()
    assert summary["metrics"]["pass@1"]["mean"] == 1.0
    assert summary["tokens"]["calls"] == 3
