"""What is forgotten is in no byte of the knowledge base, the runs and the response cache; the rest is as it was."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from evaluation import fact, install, make_pipeline, make_task, write_world

from llmkit.encoders.hashing import HashingEncoder
from llmkit.errors import DataError
from llmkit.evaluation.report.page import render
from llmkit.evaluation.runs.erase import forget_in_runs
from llmkit.evaluation.runs.plan import plan
from llmkit.evaluation.runs.run import evaluate
from llmkit.evaluation.runs.run_folder import RunFolder
from llmkit.knowledge.knowledge_base import KnowledgeBase
from llmkit.types import Document

SECRET = "Zürichgräben 47114"


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A knowledge base of gadgets, an evaluation over it, and everything an evaluation leaves behind."""
    monkeypatch.chdir(tmp_path)
    write_world(tmp_path / "world")
    rows = [json.loads(line) for line in (tmp_path / "world" / "corpus.jsonl").open()]
    rows[3]["text"] = rows[3]["text"].replace(fact(3), SECRET)
    rows[3]["id"] = "geheimakte-d3"
    questions = [json.loads(line) for line in (tmp_path / "world" / "questions.jsonl").open()]
    questions[3] |= {"answers": [SECRET], "relevant": ["geheimakte-d3"]}
    (tmp_path / "world" / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in questions))
    kb = KnowledgeBase.create(tmp_path / "kb", encoder=HashingEncoder())
    kb.add([Document(row["id"], row["text"], row["title"]) for row in rows])
    with kb.as_reader("hr") as view:
        view.search_bm25(["gadget"], 3)  # a reader's index has its words too
    install(monkeypatch)
    task = make_task(tmp_path / "world", knowledge="pipeline")
    planned = plan(make_pipeline(knowledge=str(tmp_path / "kb")), task, tmp_path / "runs")
    folder = evaluate(planned)
    (tmp_path / "runs" / "report.html").write_text(render([folder]))
    (folder.path / "blame.json").write_text(json.dumps({"why": f"said {SECRET}"}))
    yield kb, folder
    kb.close()


def needles():
    for text in (SECRET, SECRET.split()[0], SECRET.split()[0].lower(), "47114", "geheimakte"):
        yield text.encode()
        yield text.encode("utf-16-le")
        yield json.dumps(text)[1:-1].encode()


def found(*folders):
    return [
        (path, needle)
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file()
        for needle in needles()
        if needle in path.read_bytes()
    ]


def test_no_byte_of_it_is_left_and_the_rest_is_as_it_was(world, tmp_path):
    kb, folder = world
    before = {row["id"]: row for row in folder.scores()}
    assert before["q3"]["scores"]["contains"] == 1.0
    assert {path.name for path, _ in found(tmp_path / "kb", tmp_path / "runs")} >= {
        "catalog.sqlite-wal", "passages.jsonl", "traces.jsonl", "responses.sqlite-wal", "blame.json", "report.html",
    }  # fmt: skip
    kb.close()
    told = subprocess.run(
        [sys.executable, "-m", "llmkit", "kb", "forget", "geheimakte-d3", "--kb", "kb"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert found(tmp_path / "kb", tmp_path / "runs") == []
    after = {row["id"]: row for row in RunFolder(folder.path).scores()}
    assert "q3" not in after
    assert all(after[name] == before[name] for name in after)
    gone = len(before) - len(after)  # its own, and those that were shown it
    assert f"runs: erased {gone} samples, 1 passages and {gone} cached answers" in told.stdout
    assert "deleted, can be written again: runs/world/" in told.stdout
    with pytest.raises(DataError, match="has no summary yet: run the same"):
        RunFolder(folder.path).summary()


def test_samples_that_never_met_it_stay(tmp_path, monkeypatch):
    install(monkeypatch)
    write_world(tmp_path / "world")
    kb = KnowledgeBase.create(tmp_path / "kb", encoder=HashingEncoder())
    kb.add([Document(f"d{n}", f"Gadget g{n}. The gadget g{n} was made in {fact(n)}.") for n in range(12)])
    task = make_task(tmp_path / "world", knowledge="pipeline")
    pipeline = make_pipeline(knowledge=str(tmp_path / "kb"), steps=[{"type": "retrieve", "k": 1}, "answer", "ground"])
    folder = evaluate(plan(pipeline, task, tmp_path / "runs"))
    met = {
        row["id"]
        for row in folder.traces()
        if any(folder.passages()[hit["passage"]].document == "d5" for hit in row["state"]["retrieved"])
    }
    erased = forget_in_runs(tmp_path / "runs", kb.quotes(["d5"]))
    assert {row["id"] for row in folder.scores()} == {f"q{n}" for n in range(12)} - met - {"q5"}
    assert erased.samples == len(met | {"q5"})
    assert len(list(evaluate(plan(pipeline, task, tmp_path / "runs")).scores())) == 12  # and is made again
    kb.close()


def test_a_corpus_beside_the_runs_goes_too_and_comes_back_from_its_data(tmp_path, monkeypatch):
    install(monkeypatch)
    write_world(tmp_path / "world")
    evaluate(plan(make_pipeline(), make_task(tmp_path / "world"), tmp_path / "runs"))
    (corpus,) = (tmp_path / "runs" / ".knowledge").iterdir()
    with KnowledgeBase.create(tmp_path / "kb", encoder=HashingEncoder()) as kb:
        text = next(json.loads(line)["text"] for line in (tmp_path / "world" / "corpus.jsonl").open())
        kb.add([Document("mine", text), Document("other", "Something else.")])
        erased = forget_in_runs(tmp_path / "runs", kb.quotes(["mine"]))
    assert str(corpus) in erased.files
    assert not corpus.exists()


def test_a_run_that_is_being_written_is_named(world, tmp_path):
    kb, folder = world
    with folder.writing(), pytest.raises(DataError, match=f"another process is writing to .*{folder.path.name}"):
        forget_in_runs(tmp_path / "runs", kb.quotes(["geheimakte-d3"]))
    assert kb.forget(["geheimakte-d3"]).documents == 1  # nothing was lost: it can be asked again


def test_quotes_are_what_no_other_document_says(tmp_path):
    with KnowledgeBase.create(tmp_path / "kb", encoder=HashingEncoder()) as kb:
        kb.add([
            Document("a", "The key of the vault in the cellar is AX-40712, says Ann. All rights are reserved by us."),
            Document("b", "All rights are reserved by us. Call 40713 for the key of the vault."),
            Document("short", "Rosebud."),
            Document("ja", "金庫の鍵は地下室にあります。"),
        ])  # fmt: skip
        quotes = kb.quotes(["a"])
        assert quotes.in_text("It is 40712.")
        assert quotes.in_text("… OF THE VAULT\nIN THE …")
        assert not quotes.in_text("All rights are reserved by us. The key of the vault: call 40713.")
        assert quotes.in_value({"x": [{"document": "a"}]})
        assert quotes.in_value(["a#3"])
        assert not quotes.in_value(["b", "short"])
        assert kb.quotes(["short"]).in_text("He said Rosebud, twice.")
        assert kb.quotes(["ja"]).in_text("鍵は地下室です")
