"""Runs: resumable, bounded, cached, replayable, and honest about what failed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from evaluation import fact, install, make_pipeline, make_task, reader, write_world

from llmkit import config
from llmkit.errors import Cancelled, DataError, KnowledgeError, ModelError
from llmkit.evaluation.analysis.compare import compare, differences, gate
from llmkit.evaluation.runs.plan import plan
from llmkit.evaluation.runs.reopen import reopen
from llmkit.evaluation.runs.replay import replay
from llmkit.evaluation.runs.run import evaluate
from llmkit.evaluation.runs.run_folder import RunFolder
from llmkit.knowledge.knowledge_base import KnowledgeBase
from llmkit.types import Document


@pytest.fixture
def world(tmp_path):
    return write_world(tmp_path / "world")


def run(world, tmp_path, *, pipeline=None, cache=True, workers=1, on_progress=None, **task):
    planned = plan(pipeline or make_pipeline(), make_task(world, **task), tmp_path / "runs", cache=cache)
    return evaluate(planned, workers=workers, on_progress=on_progress or (lambda _: None))


def test_a_run_scores_every_sample_and_says_what_it_ran(world, tmp_path, monkeypatch):
    install(monkeypatch)
    folder = run(world, tmp_path)
    summary = folder.summary()
    assert (summary["n"], summary["ok"], summary["errors"]) == (12, 12, 0)
    assert summary["metrics"]["contains"]["mean"] == 1.0
    assert 0.7 < summary["metrics"]["contains"]["low"] < 1.0
    assert summary["metrics"]["citation_precision"]["mean"] == 1.0
    assert summary["tokens"]["calls"] == 12
    assert folder.run["prompts"].keys() == {"answer@v1"}
    assert folder.run["knowledge"]["documents"] == 12
    assert folder.run["dataset"]["samples"] == 12
    trace = next(folder.traces())
    assert trace["sample"]["question"] == "Where was the gadget g0 made?"
    assert trace["state"]["answer"]["citations"][0]["document"] == "d0"


def test_a_second_run_asks_nothing_and_a_cleared_folder_asks_the_cache(world, tmp_path, monkeypatch):
    model = install(monkeypatch)
    folder = run(world, tmp_path)
    assert len(model.calls) == 12
    before = (folder.path / "traces.jsonl").read_bytes()
    assert run(world, tmp_path).path == folder.path
    assert (len(model.calls), (folder.path / "traces.jsonl").read_bytes()) == (12, before)
    for file in folder.path.iterdir():
        file.unlink()
    summary = run(world, tmp_path).summary()
    assert len(model.calls) == 12
    assert summary["tokens"]["cached"] == 12
    assert summary["latency"] is None  # no time of a model
    fresh = run(world, tmp_path, cache=False)
    assert fresh.path != folder.path
    assert len(model.calls) == 24


@pytest.mark.parametrize(
    "change",
    [
        {"steps": [{"type": "retrieve", "k": 4}, "answer", "ground"]},
        {"steps": [{"type": "retrieve", "k": 3}, {"type": "answer", "passages": 2}, "ground"]},
        {"model": {"model": "scripted:reader", "temperature": 0.5}},
    ],
)
def test_whatever_shapes_an_answer_names_another_run(world, tmp_path, monkeypatch, change):
    install(monkeypatch)
    task = make_task(world)
    runs = tmp_path / "runs"
    assert plan(make_pipeline(), task, runs).path != plan(make_pipeline(**change), task, runs).path


def test_documents_and_samples_name_the_run_too(world, tmp_path, monkeypatch):
    install(monkeypatch)
    runs = tmp_path / "runs"
    before = plan(make_pipeline(), make_task(world), runs)
    assert plan(make_pipeline(), make_task(world, metrics=["answer"]), runs).path == before.path
    assert plan(make_pipeline(), make_task(world, limit=3), runs).path != before.path
    with (world / "corpus.jsonl").open("a") as file:
        file.write('{"id": "new", "title": "", "text": "One more."}\n')
    after = plan(make_pipeline(), make_task(world), runs)
    assert after.path != before.path
    assert after.run["knowledge"]["documents"] == 13


def test_repeats_are_asked_for_each_time_and_flakes_are_counted(world, tmp_path, monkeypatch):
    turn = iter(range(1000))
    model = install(monkeypatch, lambda messages: reader(messages) if next(turn) % 3 else "No idea at all.")
    summary = run(world, tmp_path, repeats=2, limit=6).summary()
    assert len(model.calls) == 12
    assert (summary["n"], summary["metrics"]["contains"]["n"]) == (12, 6)
    assert 0 < summary["metrics"]["contains"]["flake"] < 1


def test_an_interrupted_run_goes_on_where_it_stopped(world, tmp_path, monkeypatch):
    model = install(monkeypatch)

    def stop(progress):
        if progress.done == 5:
            raise KeyboardInterrupt

    with pytest.raises(Cancelled):
        run(world, tmp_path, on_progress=stop)
    asked = len(model.calls)
    assert 5 <= asked <= 7
    seen = []
    folder = run(world, tmp_path, on_progress=lambda progress: seen.append(progress.done))
    assert (seen[0], seen[-1]) == (5, 12)
    assert folder.summary()["ok"] == 12
    assert len({row["id"] for row in folder.scores()}) == 12


@pytest.mark.parametrize("cut", [1, 20, 200])
def test_a_line_cut_short_by_a_crash_is_run_again(world, tmp_path, monkeypatch, cut):
    install(monkeypatch)
    folder = run(world, tmp_path)
    whole = folder.summary()["metrics"]
    for name in ("scores.jsonl", "traces.jsonl"):
        path = folder.path / name
        path.write_bytes(path.read_bytes()[:-cut])
    again = run(world, tmp_path)
    assert again.summary()["metrics"] == whole
    assert len(list(again.traces())) == 12


def test_other_metrics_are_scored_from_the_traces(world, tmp_path, monkeypatch):
    model = install(monkeypatch)
    folder = run(world, tmp_path)
    again = run(world, tmp_path, metrics=["rouge", {"type": "retrieval", "k": [1, 5]}], primary="rouge1")
    assert again.path == folder.path
    assert len(model.calls) == 12
    assert reopen(again.path).task.figures.keys() >= {"rouge1", "recall@5"}
    found = again.summary()["metrics"]
    assert set(found) == {"rouge1", "rouge2", "rougeL", "recall@1", "recall@5", "mrr@1", "mrr@5", "ndcg@1", "ndcg@5"}
    assert found["recall@5"] == {
        "mean": None, "low": None, "high": None, "n": 0, "unscored": 12,
        "reasons": {"the pipeline retrieves 3 passages, not 5: set steps.retrieve.k": 12},
    }  # fmt: skip


def test_an_error_is_counted_beside_the_mean_and_tried_again(world, tmp_path, monkeypatch):
    broken = {"g3"}

    def script(messages):
        if any(name in messages[-1].text.rpartition("Question")[2] for name in broken):
            return ModelError("the model caught fire")
        return reader(messages)

    install(monkeypatch, script)
    folder = run(world, tmp_path, retries=0)
    summary = folder.summary()
    assert (summary["ok"], summary["errors"], summary["metrics"]["contains"]["n"]) == (11, 1, 11)
    assert summary["metrics"]["contains"]["mean"] == 1.0
    assert summary["failures"] == {"steps[1] answer: the model caught fire": 1}
    broken.clear()
    assert run(world, tmp_path).summary()["ok"] == 12


def test_what_may_pass_is_tried_again_and_what_will_not_is_not(world, tmp_path, monkeypatch):
    failures = iter([ModelError("busy", retryable=True, retry_after=0.01)] * 2)
    model = install(monkeypatch, lambda messages: next(failures, None) or reader(messages))
    assert run(world, tmp_path, limit=3).summary()["ok"] == 3
    assert len(model.calls) == 5
    model = install(monkeypatch, lambda _: ModelError("refused the key"))
    with pytest.raises(DataError, match="2 of 2 samples failed"):
        run(world, tmp_path, limit=4, fail_on_error=0.25, cache=False)
    assert len(model.calls) == 2


def test_a_dead_server_ends_the_run_soon_and_plainly(tmp_path, monkeypatch):
    world = write_world(tmp_path / "big", 100)
    install(monkeypatch, lambda _: ModelError("the model's server does not answer: is it running?"))
    with pytest.raises(DataError, match=r"the first 5 samples all failed the same way: .*is it running"):
        run(world, tmp_path)


def test_a_judge_that_does_not_answer_fails_the_sample_and_is_asked_again(world, tmp_path, monkeypatch):
    broken = [True]

    def script(messages):
        if "Which is right?" not in messages[-1].text:
            return reader(messages)
        return ModelError("the judge is out") if broken[0] else "A"

    install(monkeypatch, script)
    task = {"metrics": ["answer", {"type": "judge", "model": "scripted:judge", "votes": 2}], "retries": 0, "limit": 3}
    summary = run(world, tmp_path, **task, fail_on_error=1.0).summary()
    assert (summary["ok"], summary["failures"]) == (0, {"the judge is out": 3})
    broken[0] = False
    summary = run(world, tmp_path, **task).summary()
    assert (summary["ok"], summary["metrics"]["judged"]["n"]) == (3, 3)
    assert summary["tokens"]["cached"] == 3  # the answers themselves were not asked for twice


def test_many_time_outs_leave_no_worker_behind(world, tmp_path, monkeypatch):
    release = threading.Event()

    def script(messages):
        if int(messages[-1].text.rpartition("gadget g")[2].split()[0]) % 2:
            release.wait(20)
        return reader(messages)

    install(monkeypatch, script)
    summary = run(world, tmp_path, deadline=0.3, fail_on_error=1.0, workers=2).summary()
    release.set()
    assert (summary["ok"], summary["timeouts"]) == (6, 6)


def test_a_sample_that_hangs_is_given_up_at_its_deadline(world, tmp_path, monkeypatch):
    release = threading.Event()

    def script(messages):
        if "g2 made" in messages[-1].text.rpartition("Question")[2]:
            release.wait(20)
        return reader(messages)

    install(monkeypatch, script)
    began = time.monotonic()
    summary = run(world, tmp_path, deadline=0.5).summary()
    release.set()
    assert time.monotonic() - began < 10
    assert (summary["ok"], summary["timeouts"]) == (11, 1)
    assert "not done within the deadline of 0.5 s" in next(iter(summary["failures"]))


def test_workers_run_side_by_side_and_write_each_sample_once(world, tmp_path, monkeypatch):
    inside, most = [0], [0]
    lock = threading.Lock()

    def script(messages):
        with lock:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
        time.sleep(0.02)
        with lock:
            inside[0] -= 1
        return reader(messages)

    install(monkeypatch, script)
    folder = run(world, tmp_path, workers=4)
    assert 2 <= most[0] <= 4
    assert sorted(row["id"] for row in folder.scores()) == sorted(f"q{n}" for n in range(12))


def test_two_processes_do_not_write_to_one_run(world, tmp_path, monkeypatch):
    install(monkeypatch)
    planned = plan(make_pipeline(), make_task(world), tmp_path / "runs")
    with planned.folder().writing(), pytest.raises(DataError, match="another process is writing"):
        evaluate(planned)


def test_a_metric_that_breaks_leaves_its_figures_unscored(world, tmp_path, monkeypatch):
    install(monkeypatch)
    from llmkit.evaluation.metrics.answer import AnswerMatch

    def broken(self, sample, state):
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(AnswerMatch, "score", broken)
    found = run(world, tmp_path).summary()["metrics"]
    assert found["f1"]["reasons"] == {"the metric broke: ZeroDivisionError: division by zero": 12}
    assert found["right"]["mean"] == 1.0


def test_money_is_counted_where_the_price_is_known(world, tmp_path, monkeypatch):
    install(monkeypatch)
    summary = run(world, tmp_path, prices={"scripted:reader": {"input": 1e6, "output": 0}}).summary()
    assert summary["cost"] == summary["tokens"]["input"]
    assert run(world, tmp_path, limit=2).summary()["cost"] is None


def test_reading_gives_the_right_passages_to_the_reader(world, tmp_path, monkeypatch):
    model = install(monkeypatch)
    pipeline = make_pipeline(
        steps=[{"type": "retrieve", "k": 1, "retriever": "bm25", "where": 'path == "x"'}, "answer"]
    )
    assert run(world, tmp_path, pipeline=pipeline).summary()["metrics"]["contains"]["mean"] == 0.0
    summary = run(world, tmp_path, pipeline=pipeline, knowledge="gold").summary()
    assert summary["metrics"]["contains"]["mean"] == 1.0
    assert model.calls[-1][-1].text.count("was made in") == 1
    more = run(world, tmp_path, knowledge="gold", distractors=2)
    assert more.summary()["metrics"]["contains"]["mean"] == 1.0
    assert model.calls[-1][-1].text.count("was made in") == 3


def test_no_knowledge_and_a_column_of_its_own(tmp_path, monkeypatch):
    install(monkeypatch, lambda messages: "positive" if "good" in messages[-1].text else "negative")
    rows = [
        {"text": "so good", "label": "positive"},
        {"text": "so bad", "label": "negative"},
        {"text": "good?", "label": "negative"},
    ]
    (tmp_path / "r.csv").write_text("text,label\n" + "".join(f"{row['text']},{row['label']}\n" for row in rows))
    dataset = {"type": "rows", "path": str(tmp_path / "r.csv"), "question": "Sentiment of: $text", "answers": "label"}
    task = {
        "dataset": dataset,
        "knowledge": "none",
        "metrics": [{"type": "label", "labels": ["positive", "negative"]}],
        "primary": "",
    }
    pipeline = make_pipeline(steps=["generate"])
    summary = run(tmp_path, tmp_path, pipeline=pipeline, **task).summary()
    assert summary["metrics"]["accuracy"]["mean"] == pytest.approx(2 / 3)


def test_samples_replay_byte_for_byte_without_a_model(world, tmp_path, monkeypatch):
    model = install(monkeypatch)
    folder = run(world, tmp_path)
    calls = len(model.calls)
    found = list(replay(reopen(folder.path)))
    assert len(found) == 12
    assert all(one.same for one in found)
    assert len(model.calls) == calls
    lines = (folder.path / "traces.jsonl").read_text().splitlines()
    lines[0] = lines[0].replace(fact(0), "Bern 9999")
    (folder.path / "traces.jsonl").write_text("\n".join(lines) + "\n")
    first, *rest = replay(reopen(folder.path))
    assert not first.same
    assert all(one.same for one in rest)


def test_a_run_whose_documents_have_changed_is_not_reopened(world, tmp_path, monkeypatch):
    install(monkeypatch)
    folder = run(world, tmp_path)
    with KnowledgeBase.open(folder.run["knowledge"]["path"]) as kb:
        kb.add([Document("new", "One more.")])
    with pytest.raises(KnowledgeError, match="has changed since"):
        reopen(folder.path)


def test_comparison_pairs_by_sample_and_refuses_other_questions(world, tmp_path, monkeypatch):
    install(monkeypatch)
    good = run(world, tmp_path)
    install(
        monkeypatch, lambda messages: reader(messages) if "g1" in messages[-1].text.rpartition("Question")[2] else "No."
    )
    bad = run(world, tmp_path, pipeline=make_pipeline(name="worse"), cache=False)
    (one,) = compare([good, bad], ["contains"])
    assert "<td>contains</td>" in one._repr_html_()
    assert "<td>contains</td>" in good._repr_html_()
    assert (one.mean_a, one.pairs) == (1.0, 12)
    assert (one.paired.wins, one.paired.ties, one.paired.losses) == (0, 3, 9)
    assert one.verdict == "worse"
    assert ("name", "reading", "worse") in list(differences(good, bad))
    every = {found.metric: found for found in compare([good, bad])}
    assert every["contains"].p > one.p  # corrected for more comparisons
    assert not gate(bad, good, "contains", 0.02).passed
    assert gate(good, bad, "contains", 0.02).passed
    (same,) = compare([bad, good], ["contains"])
    assert same.verdict == "better"
    other = run(world, tmp_path, limit=4)
    with pytest.raises(DataError, match="not asked the same questions"):
        compare([good, other])
    with pytest.raises(DataError, match="given twice"):
        compare([good, good])
    with pytest.raises(DataError, match="did you mean 'contains'"):
        compare([good, bad], ["contain"])


def test_the_gate_does_not_fail_on_noise_but_fails_on_crashes(world, tmp_path, monkeypatch):
    install(monkeypatch)
    good = run(world, tmp_path)
    install(
        monkeypatch, lambda messages: "No." if "g4" in messages[-1].text.rpartition("Question")[2] else reader(messages)
    )
    slightly = run(world, tmp_path, pipeline=make_pipeline(name="slightly"), cache=False)
    found = gate(slightly, good, "contains", 0.0)
    assert found.passed
    assert found.why.startswith("undecided")
    install(
        monkeypatch,
        lambda messages: ModelError("x") if "g4" in messages[-1].text.rpartition("Question")[2] else reader(messages),
    )
    crashing = run(world, tmp_path, pipeline=make_pipeline(name="crashing"), cache=False)
    found = gate(crashing, good, "contains", 0.0)
    assert not found.passed
    assert "1 samples failed, 0 before" in found.why


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on file sizes")
def test_a_full_disk_keeps_what_was_done(tmp_path):
    world = write_world(tmp_path / "world", 150)
    yaml = {"task": make_task(world).config(), "pipeline": {**make_pipeline().config(), "model": "scripted:No answer."}}
    (tmp_path / "given.json").write_text(json.dumps(yaml))
    script = (
        "import json, resource, signal, sys\n"
        "from pathlib import Path\n"
        "from llmkit import config\n"
        "from llmkit.evaluation.runs.plan import plan\n"
        "from llmkit.evaluation.runs.run import evaluate\n"
        "from llmkit.evaluation.tasks.task import Task\n"
        "from llmkit.pipeline import Pipeline\n"
        "given = json.loads(Path('given.json').read_text())\n"
        "task, pipeline = config.Config(given['task']).build(Task), config.Config(given['pipeline']).build(Pipeline)\n"
        "planned = plan(pipeline, task, Path('runs'))\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "if sys.argv[1:]: resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))\n"
        "evaluate(planned)\n"
    )
    full = subprocess.run(
        [sys.executable, "-c", script, "150000"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert "make room and run the same command again" in full.stderr
    (path,) = (tmp_path / "runs" / "world").iterdir()
    kept = RunFolder(path)
    done = len(kept.done())
    assert 0 < done < 150
    assert (path / "traces.jsonl").read_bytes().endswith(b"\n")
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True, capture_output=True)
    assert kept.summary()["ok"] == 150


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to a child")
def test_ctrl_c_on_the_command_line(tmp_path):
    world = write_world(tmp_path / "world", 4000)
    (tmp_path / "task.yaml").write_text(
        f"name: w\ndataset: {{type: qa, path: {world}}}\nencoder: hashing\nmetrics: [answer]\nlimit: 3000\n"
    )
    (tmp_path / "p.yaml").write_text("name: p\nsteps: [retrieve, {type: extract, threshold: 0}]\n")
    command = [sys.executable, "-m", "llmkit", "eval", "p.yaml", "--task", "task.yaml"]
    child = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    scores = None
    for _ in range(600):
        scores = next((tmp_path / "runs").glob("w/*/scores.jsonl"), None)
        if scores is not None and scores.stat().st_size > 2000:
            break
        time.sleep(0.05)
    os.kill(child.pid, signal.SIGINT)
    _, told = child.communicate(timeout=30)
    assert child.returncode == 130, told
    assert "what was committed is kept" in told
    assert len(RunFolder(scores.parent).done()) >= 5


def test_a_plugin_of_a_dataset_or_metric_is_just_a_part(world):
    assert config.build_part("metric", {"type": "retrieval", "k": [3]}).figures().keys() == {
        "recall@3",
        "mrr@3",
        "ndcg@3",
    }
