"""Flips: what differed between two runs is put in at one place, and that place must be named."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from click.testing import CliRunner
from evaluation import fact, install, make_pipeline, make_task, reader, write_world
from lxml import html

from llmkit.cli.evaluation.compare import command
from llmkit.errors import DataError, ModelError
from llmkit.evaluation.analysis.error_analysis import blame
from llmkit.evaluation.analysis.regressions import CAUSES, Side, _cause, flips, kind_of
from llmkit.evaluation.report.page import render
from llmkit.evaluation.runs.plan import plan
from llmkit.evaluation.runs.reopen import reopen
from llmkit.evaluation.runs.run import evaluate
from llmkit.evaluation.runs.run_folder import write_json

COUNT = 12
BASE = [{"type": "retrieve", "k": 3, "retriever": "bm25"}, "answer", "ground"]


@pytest.fixture
def made(tmp_path, monkeypatch):
    write_world(tmp_path / "world", COUNT)

    def made(name, script=reader, steps=BASE, **task):
        install(monkeypatch, script)
        task = make_task(tmp_path / "world", fail_on_error=1.0, **task)
        return evaluate(plan(make_pipeline(name=name, steps=steps), task, tmp_path / "runs", cache=False))

    return made


def dumb(messages):
    return "On the moon [1]."


def sleepy(messages):
    raise ModelError("the model slept")


PROMPT = "---\ndescription: d\nvariables: [passages, question]\n---\n# system\nAnswer in verse.\n# user\nPassages:\n\n$passages\n\nQuestion: $question\n"


@pytest.mark.parametrize(
    ("cause", "change"),
    [
        ("reply", {"script": dumb}),
        ("failed", {"script": lambda m: sleepy(m) if "g1 " in m[-1].text else reader(m)}),
        ("evidence", {"steps": [{"type": "retrieve", "k": 3, "retriever": "bm25", "where": 'id == "d3"'}, *BASE[1:]]}),
        ("passages", {"script": lambda m: dumb(m) if "[2]" not in m[-1].text else reader(m),
                      "steps": [{"type": "retrieve", "k": 1, "retriever": "bm25"}, *BASE[1:]]}),
        ("prompt", {"script": lambda m: dumb(m) if "in verse" in m[0].text else reader(m), "verse": True}),
        ("checks", {"steps": [*BASE[:2], {"type": "ground", "overlap": 1, "on_unsupported": "abstain"}],
                    "script": lambda m: reader(m).replace("made in", "built near")}),
    ],
)  # fmt: skip
def test_what_was_different_is_named(made, tmp_path, cause, change):
    change = dict(change)
    if change.pop("verse", False):
        path = tmp_path / "verse.md"
        path.write_text(PROMPT)
        change["steps"] = [BASE[0], {"type": "answer", "prompt": str(path)}, "ground"]
    good = made("good", change["script"] if cause == "checks" else reader)
    found = flips(good, made("other", **change), "contains")
    assert found.samples == COUNT
    assert found.found
    assert {one.outcome for one in found.found} == {"lost"}
    assert {one.cause for one in found.found} == {cause}
    back = flips(made("other2", **change), good, "contains")
    assert (back.count("won"), back.count("lost")) == (found.count("lost"), 0)


def test_the_same_passages_in_another_order():
    a, b = ("p1", "one", True), ("p2", "two", False)
    first = Side(1.0, "x", False, "", (a, b), (("user", "1 2"),), "x", "")
    assert _cause(first, replace(first, passages=(b, a), messages=(("user", "2 1"),))) == "order"
    assert _cause(first, first) == "checks"


def test_steps_without_a_model(made):
    steps = [BASE[0], {"type": "extract", "threshold": 0}]
    strict = [BASE[0], {"type": "extract", "threshold": 3}]
    found = flips(made("loose", steps=steps), made("strict", steps=strict), "contains")
    assert {one.cause for one in found.found} == {"reading"}
    assert all(one.b.abstained for one in found.found)
    assert set(CAUSES) >= {one.cause for one in found.found}


def test_groups_and_their_mistakes(made):
    found = flips(made("good"), made("bad", lambda m: reader(m) if "g3 made" in m[-1].text else dumb(m)), "contains")
    assert found.count("lost") == COUNT - 1
    assert found.by("kind") == [("where", 0, COUNT - 1)]
    assert found.by("document")[0][1:] == (0, 1)
    assert found.by("stage") == [("not blamed", 0, COUNT - 1)]
    assert len(found.by("id")) == COUNT - 1  # a column of the data
    with pytest.raises(DataError, match="unknown grouping 'casue'; did you mean 'cause'"):
        found.by("casue")
    with pytest.raises(DataError, match="unknown figure 'contain'; did you mean 'contains'"):
        flips(made("good"), made("good2"), "contain")


def test_terminal_json_and_page(made, tmp_path, monkeypatch):
    good = made("good")
    bad = made("bad", lambda m: '<script>alert("x")</script> [1].')
    install(monkeypatch, dumb)
    write_json(bad.path / "blame.json", blame(reopen(bad.path)).row())

    def run(*words):
        done = CliRunner().invoke(command, [str(good.path), str(bad.path), *words])
        assert done.exit_code == 0, (done.output, done.exception)
        return done.stdout

    told = run("--by", "cause", "--by", "stage", "--show", "2")
    assert f"flipped on contains: 0 won, {COUNT} lost, of {COUNT} samples" in told
    assert "generated" in told
    assert told.count("(holds the answer)") == 4
    assert f"right: {fact(0)}" in told
    rows = json.loads(run("--metric", "contains", "--json"))
    assert rows[0]["flips"]["lost"] == COUNT
    assert rows[0]["flips"]["by"]["cause"] == [{"group": "reply", "won": 0, "lost": COUNT}]
    page = render([good, bad])
    text = html.fromstring(page).text_content()
    assert f"0 samples were won and {COUNT} lost" in text
    assert page.count('class="pair"') == COUNT
    assert "<script>alert" not in page
    same = render([good, made("same")])
    assert "0 samples were won and 0 lost" in html.fromstring(same).text_content()


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("Who wrote it?", "who"), ("In which year was it?", "which"), ("how many people live there", "how many"),
        ("Is it blue?", "yes or no"), ("when did he die", "when"), ("Name the river.", "other"), ("whose is it", "who"),
        ("ポンプの担当は誰ですか", "who"), ("整備はいつですか", "when"), ("何人いますか", "how many"), ("名前は何ですか", "what"),
        ("whatever works", "other"), ("", "other"),
    ],
)  # fmt: skip
def test_kinds_of_questions(question, kind):
    assert kind_of(question) == kind
