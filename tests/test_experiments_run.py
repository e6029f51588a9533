"""Experiments from a file to a decision, and the mistakes people make."""

from __future__ import annotations

import json
import re

import pytest
from click.testing import CliRunner
from conftest import REPOSITORY
from evaluation import write_world

from llmkit import config
from llmkit.cli.prompts.experiment import command
from llmkit.errors import Cancelled, ConfigError, DataError, LlmkitError
from llmkit.evaluation.report.page import write as write_report
from llmkit.evaluation.runs.plan import plan
from llmkit.evaluation.runs.run import evaluate
from llmkit.experiments.experiment import Experiment, arms_of, load_experiment, task_of
from llmkit.experiments.optimise.search import check_search
from llmkit.experiments.report import render
from llmkit.experiments.running import as_json, prepare, run
from llmkit.pipeline import load_pipeline
from llmkit.types import Answer

PIPELINE = "name: p\nsteps: [{type: retrieve, k: 5}, {type: extract, threshold: 0}]\n"
SHIPPED = sorted((REPOSITORY / "eval" / "experiments").glob("*.yaml"))


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_world(tmp_path / "world", 60)
    (tmp_path / "p.yaml").write_text(PIPELINE)
    task = "name: w\ndataset: {type: qa, path: world}\nencoder: hashing\nmetrics: [answer, abstention]\nprimary: contains\n"
    (tmp_path / "t.yaml").write_text(task)
    return tmp_path


def experiment(**changes):
    values = {"name": "e", "pipeline": "p.yaml", "task": "t.yaml", **changes}
    if "arms" not in values:
        values.setdefault("vary", {"steps.extract.threshold": [0.0, 0.5, 1.0]})
    return config.Config(values).build(Experiment)


def test_from_a_file_to_a_decision_and_again_for_nothing(world):
    standing = prepare(experiment(), world / "runs")
    decision = run(standing)
    assert decision.kind in ("winner", "tie")
    assert standing.arms[decision.best].values == {"steps.extract.threshold": 0.0}
    assert decision.calls < 3 * 60
    assert standing.spent.calls == decision.calls
    assert 2 in standing.race.out  # a threshold of 1 refuses everything
    again = prepare(experiment(), world / "runs")
    assert run(again) == decision
    assert (again.spent.calls, again.spent.known) == (0, decision.calls)
    saved = json.loads((standing.path / "decision.json").read_text())
    assert saved["best"] == standing.arms[decision.best].name
    assert saved["arms"][2]["beaten_by"]


def test_a_finished_run_costs_nothing(world):
    task = task_of(experiment())
    evaluate(plan(load_pipeline("p.yaml", ["steps.extract.threshold=0.0"]), task, world / "runs"))
    standing = prepare(experiment(), world / "runs")
    decision = run(standing)
    assert standing.spent.known >= standing.race.seen[0]
    assert standing.spent.calls == decision.calls - standing.race.seen[0]


def test_what_was_scored_by_other_metrics_is_scored_anew(world):
    run(prepare(experiment(task_set={"metrics": ["abstention"], "primary": "refused"}, figure="right"), world / "runs"))
    standing = prepare(experiment(figure="contains"), world / "runs")
    decision = run(standing)
    assert standing.spent.known
    assert standing.race.means()[decision.best] == 1.0
    assert 2 in standing.race.out


def test_the_grid_asks_everyone_everything(world):
    standing = prepare(experiment(strategy="grid"), world / "runs")
    assert run(standing).calls == 3 * 60


def test_a_budget_is_kept_and_said(world):
    standing = prepare(experiment(budget={"calls": 60}), world / "runs")
    decision = run(standing)
    assert standing.spent.calls == decision.calls == 60
    assert standing.stopped == "the budget of 60 calls is used up"
    standing = prepare(experiment(budget={"calls": 62}), world / "other")
    assert run(standing).calls == standing.spent.calls == 62  # two more, where two are left of a block of four
    with pytest.raises(DataError, match=r"a budget of 5 calls decides nothing: 3 arms need at least \d+"):
        prepare(experiment(budget={"calls": 5}), world / "runs")


def test_an_arm_that_always_fails_is_withdrawn_with_its_reason(world):
    arms = {"fine": {}, "other": {"steps.extract.threshold": 1.0}, "broken": {"steps.retrieve.retriever": "dense"}}
    standing = prepare(experiment(arms=arms), world / "runs")
    kb = standing.plans[2].pipeline.open_knowledge()

    class Broken:
        def __getattr__(self, name):
            raise OSError("the disk is gone")

    object.__setattr__(standing.plans[2], "pipeline", standing.plans[2].pipeline.with_knowledge(kb))
    standing.plans[2].pipeline.__dict__["_knowledge"] = Broken()
    decision = run(standing)
    assert standing.arms[decision.best].name == "fine"
    assert "the disk is gone" in standing.why[2]


def test_the_arms_are_runs_like_any_other_for_a_report(world):
    standing = prepare(experiment(), world / "runs")
    run(standing)
    folders = [planned.folder() for planned in standing.plans]
    seen = standing.race.seen.tolist()
    assert [folder.summary()["n"] for folder in folders] == seen
    write_report(folders, world / "report.html")
    assert "p" in (world / "report.html").read_text()
    evaluate(standing.plans[2], only=set(standing.order))
    with pytest.raises(DataError, match="no summary yet"):  # the old one told of fewer samples
        folders[2].summary()
    evaluate(standing.plans[2])
    assert folders[2].summary()["n"] == 60


def test_one_arm_that_runs_wins_no_race(world):
    (world / "e.yaml").write_text(
        "name: e\npipeline: p.yaml\ntask: t.yaml\narms:\n  fine: {}\n"
        "  broken: {steps: [generate], model: 'scripted:@none.jsonl'}\n"
    )
    done = CliRunner().invoke(command, ["e.yaml", "--html", "page/there.html"])
    assert done.exit_code == 0, done.exception
    assert "no race: fine is the only arm that could run" in done.output
    assert "Withdrawn, and not compared: broken" in done.output
    assert "broken was withdrawn: 8 of 8 samples failed" in done.output
    assert "none.jsonl cannot be read" in done.output
    assert "winner" not in done.output
    assert "nan" not in done.output
    done = CliRunner().invoke(command, ["e.yaml", "--html", "world"])
    assert isinstance(done.exception, LlmkitError)
    assert "no race: fine" in done.output  # the decision is not lost with the page


def test_names_that_are_wrong_are_told_once_and_among_their_kind(world):
    with pytest.raises(
        ConfigError, match=r"unknown experiment 'docs-retreival'; did you mean 'docs-retrieval'"
    ) as caught:
        load_experiment("docs-retreival")
    assert "tasks" not in str(caught.value)
    with pytest.raises(ConfigError, match=r"unknown task 'dcos'; did you mean 'docs'"):
        task_of(experiment(task="dcos"))
    with pytest.raises(ConfigError, match=r"unknown pipeline 'docs-qaa'") as caught:
        arms_of(experiment(pipeline="docs-qaa"))
    assert str(caught.value).count("unknown pipeline") == 1


def test_wrong_arms_are_named_before_anything_runs(world):
    with pytest.raises(ConfigError, match=r"no item|unknown item"):
        arms_of(experiment(vary={"steps.rerank.k": [1, 2]}))
    with pytest.raises(ConfigError, match=r"arm b: |is the same pipeline as arm a") as caught:
        arms_of(experiment(arms={"a": {}, "b": {"steps.extract.threshold": 0}, "c": {"steps.retrieve.k": 3}}))
    assert "arm b" in str(caught.value)
    for changes, message in [
        ({"vary": {"steps.retrieve.k": [3]}}, "two arms or more"),
        ({"vary": {"a": [1, 2]}, "arms": {"x": {}, "y": {}}}, "either vary"),
        ({"vary": {"a": list(range(40)), "b": list(range(40))}}, "more than 1000"),
    ]:
        with pytest.raises(ConfigError, match=message):
            experiment(**changes)


def test_arms_that_are_the_same_after_resolution_are_named(world):
    for arms in (
        {"a": {"steps.retrieve.retriever": "dense"}, "b": {"steps.retrieve.retriever": {"type": "dense"}}},
        {"a": {}, "b": {"steps.retrieve.k": 5}},
    ):
        with pytest.raises(ConfigError, match="is the same pipeline as arm a"):
            arms_of(experiment(arms=arms))
    (world / "g.yaml").write_text("name: g\nmodel: scripted:x\nsteps: [{type: generate, prompt: say@v1}]\n")
    for version, head in (
        ("v1", ""),
        ("v2", 'examples: [{question: "1?", answer: "2"}, {question: "3?", answer: "4"}]\n'),
    ):
        path = world / f"prompts/say/{version}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"---\ndescription: d\nvariables: [question]\n{head}---\n# user\n$question\n")
    for arms in (
        {"a": {"steps.generate.prompt": "say"}, "b": {"steps.generate.prompt": "say@v2"}},
        {
            "a": {"steps.generate.prompt": "say@v2"},
            "b": {"steps.generate": {"prompt": "say@v2", "type": "generate", "examples": 2}},
        },
    ):
        with pytest.raises(ConfigError, match="is the same pipeline as arm a"):
            arms_of(experiment(pipeline="g.yaml", arms=arms))
    counts = experiment(
        pipeline="g.yaml", set={"steps.generate.prompt": "say@v2"}, vary={"steps.generate.examples": [0, 1, 2]}
    )
    assert len(arms_of(counts)) == 3
    with pytest.raises(ConfigError, match="prompt say@v2 has 2, not 8"):
        arms_of(
            experiment(pipeline="g.yaml", vary={"steps.generate.prompt": ["say@v2"], "steps.generate.examples": [2, 8]})
        )


def test_the_task_may_vary_too_but_not_its_questions(world):
    chunks = {"steps.retrieve.k": [2], "task.splitter.max_tokens": [16, 64]}
    written_out = {"splitter": "structure"}
    standing = prepare(experiment(vary=chunks, task_set=written_out), world / "runs")
    assert [arm.name for arm in standing.arms] == [
        "k=2 max_tokens=16",
        "k=2 max_tokens=64",
    ]
    assert standing.plans[0].run["knowledge"]["chunks"] > standing.plans[1].run["knowledge"]["chunks"]
    run(standing)
    with pytest.raises(ConfigError, match="asked other questions"):
        prepare(experiment(vary={"task.limit": [10, 20]}), world / "runs")
    with pytest.raises(ConfigError, match=r"arm max_token=9"):
        arms_of(experiment(vary={"task.splitter.max_token": [9, 10]}, task_set=written_out))


def test_an_arm_that_is_hardly_ever_scored_is_withdrawn_with_the_reason(world, monkeypatch):
    from llmkit.evaluation.metrics.answer import AnswerMatch

    score = AnswerMatch.score

    def sometimes(self, sample, state):
        if int(sample.id[1:]) % 3 and not state.answer.abstained:
            raise RuntimeError("no scale for this")
        return score(self, sample, state)

    monkeypatch.setattr(AnswerMatch, "score", sometimes)
    arms = {
        "fine": {"steps.extract.threshold": 1.0},
        "unscored": {},
        "other": {"steps.retrieve.k": 1, "steps.extract.threshold": 1.1},
    }
    standing = prepare(experiment(arms=arms), world / "runs")
    run(standing)
    assert standing.race.withdrawn == {1}
    assert re.search(r"\d of 8 samples have no contains \(0 failed, \d unscored\)", standing.why[1])
    assert "more than max_missing: 0.25 allows" in standing.why[1]
    assert "no scale for this" in standing.why[1]


def test_an_arm_whose_model_sends_no_text_is_withdrawn_and_wins_nothing(world, monkeypatch):
    """Most questions have no answer: whoever says nothing must not pass for one who refuses rightly."""
    from llmkit.pipeline.steps.answering.extract import Extract

    write_world(world / "world", 60, answers=False)
    extract = Extract.run

    def silent(self, state, ctx):
        if self.sentences != 2:
            return extract(self, state, ctx)
        ctx.record(raw="  ")  # what `answer` records of an empty reply
        return state.replace(answer=Answer("Not found in the documents.", abstained=True))

    monkeypatch.setattr(Extract, "run", silent)
    arms = {"answers": {}, "silent": {"steps.extract.sentences": 2}, "refuses": {"steps.extract.threshold": 1.5}}
    standing = prepare(experiment(arms=arms, figure="right"), world / "runs")
    decision = run(standing)
    assert standing.race.withdrawn == {1}
    assert "the model answered with no text, which is no abstention" in standing.why[1]
    assert standing.arms[decision.best].name == "refuses"
    assert set(standing.race.out.values()) <= {2}
    summary = standing.plans[1].folder().summary()
    assert summary["metrics"]["right"]["mean"] is None
    assert summary["metrics"]["right"]["unscored"] == summary["n"] == 8


def test_the_table_and_the_page_say_how_many_samples_have_no_score(world, monkeypatch):
    from llmkit.evaluation.metrics.answer import AnswerMatch

    score = AnswerMatch.score

    def mostly(self, sample, state):
        if int(sample.id[1:]) % 8 == 0:
            raise RuntimeError("no scale for this")
        return score(self, sample, state)

    monkeypatch.setattr(AnswerMatch, "score", mostly)
    (world / "e.yaml").write_text(
        "name: e\npipeline: p.yaml\ntask: t.yaml\nstrategy: grid\nmax_missing: 0.5\n"
        "vary: {steps.extract.threshold: [0.0, 1.0]}\n"
    )
    done = CliRunner().invoke(command, ["e.yaml", "--html", "page.html"])
    assert done.exit_code == 0, done.exception
    assert "60, 8 without a score" in done.output
    assert "of them without a score" in (world / "page.html").read_text()


def test_an_interruption_stops_the_experiment_and_withdraws_nobody(world, monkeypatch):
    from llmkit.experiments import answers

    standing = prepare(experiment(), world / "runs")

    def interrupted(*_, **__):
        raise Cancelled("interrupted")

    monkeypatch.setattr(answers, "evaluate", interrupted)
    with pytest.raises(Cancelled):
        run(standing)
    assert not standing.race.withdrawn


def test_a_figure_that_cannot_decide_is_refused(world):
    with pytest.raises(ConfigError, match="has no 'rightt'"):
        task_of(experiment(figure="rightt"))
    with pytest.raises(DataError, match="depends on what was answered"):
        run(prepare(experiment(figure="right_if_answered"), world / "runs"))
    write_world(world / "world", 60, answers=False)
    with pytest.raises(DataError, match="says nothing of any of the first 8 samples"):
        run(prepare(experiment(figure="contains"), world / "runs"))
    with pytest.raises(ConfigError, match="set repeats to 1"):
        task_of(experiment(task_set={"repeats": 2}))


def test_the_page_shows_every_arm_and_no_markup_of_the_data(world):
    arms = {"<script>alert(1)</script>": {}, "b": {"steps.extract.threshold": 1.0}}
    standing = prepare(experiment(arms=arms, description="<b>bold</b>"), world / "runs")
    decision = run(standing)
    page = render(standing, decision, "winner: <i>")
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "<b>bold" not in page
    assert page.count("<polyline") == 2
    json.dumps(as_json(standing, decision))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_experiments_are_fine(path, monkeypatch):
    monkeypatch.setenv("LLMKIT_DATA", "data")
    shipped = load_experiment(path.stem)
    if shipped.optimises:
        check_search(shipped)
    else:
        assert len(arms_of(shipped)) >= 2
    task_of(shipped)
