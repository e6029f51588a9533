"""The commands of evaluation, and every task that ships."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from conftest import REPOSITORY
from evaluation import write_world

from llmkit import assets
from llmkit.evaluation.tasks.rows import BadRow
from llmkit.evaluation.tasks.task import load_task, select
from llmkit.types import Document

TASKS = sorted(path.stem for path in (REPOSITORY / "eval" / "tasks").glob("*.yaml"))
PIPELINE = "name: p\nsteps: [{type: retrieve, k: 5}, {type: extract, threshold: 0}]\n"


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(*arguments, code=0):
        command = [sys.executable, "-m", "llmkit", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        return done.stdout, done.stderr

    return run


@pytest.fixture
def world(tmp_path):
    write_world(tmp_path / "world", 20)
    (tmp_path / "p.yaml").write_text(PIPELINE)
    task = "name: w\ndataset: {type: qa, path: world}\nencoder: hashing\nmetrics: [answer, abstention]\nprimary: contains\n"
    (tmp_path / "task.yaml").write_text(task)
    return tmp_path


def test_from_a_run_to_a_decision(run, world):
    out, err = run("eval", "p.yaml", "--task", "task.yaml")
    assert "20 of 20 samples scored" in out
    assert "points between two pipelines is detected with 80 % power" in err
    assert "p on w: 20 samples" in err
    first = next(line for line in out.splitlines() if line.startswith("runs/w/p-"))
    out, _ = run("eval", "p.yaml", "--task", "task.yaml", "--set", "steps.retrieve.k=1", "--json")
    found = json.loads(out)
    assert found["metrics"]["contains"]["n"] == 20
    second = found["run"]
    out, err = run("compare", first, second)
    assert "steps[0].k: 5 -> 1" in out
    assert "corrected for" in err
    out, _ = run("compare", first, second, "--metric", "contains", "--json")
    assert json.loads(out)[0]["pairs"] == 20
    out, _ = run("gate", second, "--against", first, "--drop", "0.5")
    assert out.startswith("passed: contains")
    out, _ = run("replay", first)
    assert "20 of 20 samples replayed byte for byte" in out
    out, _ = run("blame", first, "--json")
    assert json.loads(out)["samples"] == 20
    out, _ = run("report", first, second, "--html", "page.html")
    assert "<!doctype html>" in (world / "page.html").read_text()


def test_a_gate_that_fails_exits_with_one(run, world):
    (world / "bad.yaml").write_text(
        "name: bad\nmodel: 'scripted:I do not know.'\nsteps: [{type: retrieve, k: 5}, answer]\n"
    )
    good = json.loads(run("eval", "p.yaml", "--task", "task.yaml", "--json")[0])["run"]
    bad = json.loads(run("eval", "bad.yaml", "--task", "task.yaml", "--json")[0])["run"]
    out, _ = run("gate", bad, "--against", good, "--drop", "0.02", code=1)
    assert out.startswith("FAILED: contains -1.000")


def test_a_judged_mean_is_corrected(run, world):
    found = json.loads(run("eval", "p.yaml", "--task", "task.yaml", "--json")[0])
    (world / "labels.jsonl").write_text("".join(f'{{"id": "q{n}", "label": {n % 2}}}\n' for n in range(8)))
    out, _ = run("correct", found["run"], "--metric", "contains", "--labels", "labels.jsonl")
    assert "labels alone" in out
    (world / "labels.jsonl").write_text('{"id": "q1", "label": 3}\n')
    _, err = run("correct", found["run"], "--metric", "contains", "--labels", "labels.jsonl", code=1)
    assert "labels.jsonl, line 1: a label is 1 or 0, not 3" in err


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["eval", "--task", "task.yaml"], 2, "give PIPELINES to score"),
        (["eval", "p.yaml", "--task", "nothing"], 2, "nothing"),
        (["eval", "p.yaml", "--task", "p.yaml"], 2, "is a pipeline, not a task"),
        (["eval", "p.yaml", "--task", "task.yaml", "--task-set", "limit=none"], 2, "limit"),
        (["eval", "--calibrate", "--task", "task.yaml"], 1, "no human labels"),
        (["compare", "a"], 2, "two runs or more"),
        (["compare", "a", "b"], 1, "a is not the folder of a run"),
        (["gate", "a", "--against", "b"], 1, "a is not the folder of a run"),
        (["blame", "a"], 1, "a is not the folder of a run"),
        (["report", "a"], 1, "a is not the folder of a run"),
    ],
)
def test_mistakes_are_one_sentence(run, world, arguments, code, told):
    _, err = run(*arguments, code=code)
    assert told in err


def test_a_bad_row_is_told_and_left_out(run, world):
    with (world / "world" / "questions.jsonl").open("a") as file:
        file.write("{broken\n")
    out, err = run("eval", "p.yaml", "--task", "task.yaml")
    assert "sample left out: questions.jsonl, line 21: not JSON" in err
    assert "20 of 20 samples scored" in out


@pytest.mark.network
def test_a_dead_model_server_ends_plainly(run, world, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    (world / "openai.yaml").write_text(
        "name: o\nmodel: {model: 'openai:any', retries: 0}\nsteps: [{type: retrieve, k: 2}, answer]\n"
    )
    _, err = run("eval", "openai.yaml", "--task", "task.yaml", "--task-set", "retries=0", code=1)
    assert "the model's server does not answer" in err
    assert "is it running?" in err


@pytest.mark.parametrize("name", TASKS)
def test_every_task_that_ships_is_valid(name, monkeypatch, tmp_path):
    monkeypatch.setenv("LLMKIT_DATA", str(tmp_path))
    task = load_task(name)
    assert task.name == name
    assert task.description
    assert task.decides in task.figures


@pytest.mark.parametrize("name", TASKS)
def test_every_task_that_ships_reads_its_data(name, monkeypatch, data):
    monkeypatch.setenv("LLMKIT_DATA", str(data))
    task = load_task(name)
    selection = select(task)
    assert selection.positions
    assert selection.bad_count == 0
    if task.knowledge == "corpus":
        documents = list(task.dataset.documents())
        assert documents
        assert not [item for item in documents if isinstance(item, BadRow)]


def test_our_own_questions_can_be_answered_from_our_own_documents():
    task = load_task("docs")
    texts = {item.id: item.text for item in task.dataset.documents() if isinstance(item, Document)}
    for sample in task.dataset.samples():
        assert set(sample.relevant) <= set(texts)
        if sample.answers:
            assert any(gold.lower() in texts[name].lower() for name in sample.relevant for gold in sample.answers)


@pytest.mark.slow
def test_our_own_task_needs_nothing_else(run, weights_home):
    out, _ = run("eval", "docs-qa", "--task", "docs", "--json")
    found = json.loads(out)
    assert (found["n"], found["errors"]) == (48, 0)
    assert found["metrics"]["right"]["mean"] > 0.6
    assert assets.find("eval", "tasks/docs").is_file()


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals are sent as on POSIX systems")
def test_ctrl_c_during_an_evaluation_exits_130(run, weights_home):
    """A worker is inside the encoder's native code when the process ends."""
    run("eval", "docs-qa", "--task", "docs", "--task-set", "limit=1")  # the corpus is encoded
    command = [sys.executable, "-m", "llmkit", "eval", "docs-qa", "--task", "docs"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if "80 % power" in line:
            break
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "terminate called" not in err


@pytest.mark.slow
def test_judges_are_calibrated_on_people(run, data, monkeypatch):
    monkeypatch.setenv("LLMKIT_DATA", str(data))
    out, _ = run("eval", "--calibrate", "--task", "judge-begin-dev", "--json")
    found = {one["figure"]: one for one in json.loads(out)}
    assert found["groundedness"]["auc"]["low"] > 0.85
    assert found["grounded"]["auc"]["low"] > 0.7


@pytest.mark.slow
@pytest.mark.parametrize(("pipeline", "task"), [("generate-local", "gsm8k"), ("tool-call-local", "bfcl-simple")])
def test_the_local_pipelines_run(run, data, weights_home, monkeypatch, pipeline, task):
    monkeypatch.setenv("LLMKIT_DATA", str(data))
    found = json.loads(run("eval", pipeline, "--task", task, "--task-set", "limit=3", "--json")[0])
    assert (found["ok"], found["tokens"]["calls"]) == (3, 3)
