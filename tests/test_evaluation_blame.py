"""Blame: faults are put in at one stage, and that stage must be named."""

from __future__ import annotations

import json
import os

import pytest
from evaluation import fact, install, make_pipeline, make_task, reader, write_world

from llmkit.encoders.hashing import HashingEncoder
from llmkit.errors import DataError, ModelError
from llmkit.evaluation.analysis.error_analysis import blame
from llmkit.evaluation.runs.plan import plan
from llmkit.evaluation.runs.reopen import reopen
from llmkit.evaluation.runs.run import evaluate
from llmkit.knowledge.knowledge_base import KnowledgeBase
from llmkit.text.splitter import StructureSplitter
from llmkit.types import Document

COUNT = int(os.environ.get("LLMKIT_FAULTS", "12"))


def documents(world):
    rows = map(json.loads, (world / "corpus.jsonl").read_text().splitlines())
    return [Document(row["id"], row["text"], row["title"]) for row in rows]


def knowledge(tmp_path, given, splitter=None):
    kb = KnowledgeBase.create(tmp_path / "kb", encoder=HashingEncoder(), splitter=splitter)
    kb.add(given)
    return kb


def stages(world, tmp_path, *, kb=None, pipeline=None, **task):
    pipeline = pipeline or make_pipeline()
    if kb is not None:
        pipeline, task = pipeline.with_knowledge(kb), {**task, "knowledge": "pipeline"}
    folder = evaluate(plan(pipeline, make_task(world, **task), tmp_path / "runs"))
    found = blame(reopen(folder.path))
    return found, {one.id: one.stage for one in found.failed}


@pytest.fixture
def world(tmp_path):
    return write_world(tmp_path / "world", COUNT)


def test_nothing_to_blame(world, tmp_path, monkeypatch):
    install(monkeypatch)
    found, by_id = stages(world, tmp_path)
    assert by_id == {}
    assert sum(found.stages.values()) == found.reruns == 0


def test_a_document_that_was_never_ingested(world, tmp_path, monkeypatch):
    install(monkeypatch)
    kb = knowledge(tmp_path, [d for d in documents(world) if int(d.id[1:]) % 2])
    found, by_id = stages(world, tmp_path, kb=kb)
    assert by_id == {f"q{n}": "ingested" for n in range(0, COUNT, 2)}
    assert found.reruns == COUNT / 2


def test_a_document_whose_answer_was_lost_on_the_way_in(world, tmp_path, monkeypatch):
    install(monkeypatch)
    cut = [Document(d.id, d.text.partition("made in")[0], d.title) for d in documents(world)]
    _, by_id = stages(world, tmp_path, kb=knowledge(tmp_path, cut))
    assert set(by_id.values()) == {"ingested"}
    assert len(by_id) == COUNT


def rewrite(world, texts, answers):
    """The corpus with these texts, the questions with these answers."""
    corpus = [{"id": f"d{n}", "title": "", "text": text} for n, text in enumerate(texts)]
    questions = [json.loads(line) for line in (world / "questions.jsonl").read_text().splitlines()]
    questions = [{**row, "answers": [answer]} for row, answer in zip(questions, answers, strict=True)]
    for name, rows in (("corpus", corpus), ("questions", questions)):
        (world / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return documents(world)


def whole_answer(answers):
    """A reader that needs the whole answer in its prompt."""

    def script(messages):
        text = messages[-1].text
        asked = int(text.rpartition("gadget g")[2].split()[0])
        return f"{answers[asked]} [1]." if answers[asked] in text else "Not found in these documents."

    return script


def test_an_answer_cut_in_two(world, tmp_path, monkeypatch):
    answers = [f"gadget g{n} was made by {' '.join(f'person{n}x{i}' for i in range(24))}" for n in range(COUNT)]
    given = rewrite(world, [f"The {answer} and others" for answer in answers], answers)
    install(monkeypatch, whole_answer(answers))
    kb = knowledge(tmp_path, given, StructureSplitter(max_tokens=16))
    _, by_id = stages(world, tmp_path, kb=kb)
    assert by_id == {f"q{n}": "chunked" for n in range(COUNT)}


def test_a_search_that_finds_other_things(world, tmp_path, monkeypatch):
    answers = [fact(n) for n in range(COUNT)]
    given = rewrite(world, [f"Thing x{n} comes from {fact(n)}." for n in range(COUNT)], answers)
    noise = [Document(f"noise{n}", f"Where was the gadget g{n % COUNT} made? {n}") for n in range(110 * COUNT)]
    install(monkeypatch, whole_answer(answers))
    pipeline = make_pipeline(steps=[{"type": "retrieve", "k": 3, "retriever": "bm25"}, "answer"])
    _, by_id = stages(world, tmp_path, kb=knowledge(tmp_path, [*given, *noise]), pipeline=pipeline)
    assert by_id == {f"q{n}": "retrieved@100" for n in range(COUNT)}


def test_a_passage_found_too_low(world, tmp_path, monkeypatch):
    install(monkeypatch)
    noise = [
        Document(f"n{n}x{i}", f"Where was the gadget g{n} made?", f"gadget g{n} made {i}")
        for n in range(COUNT) for i in range(6)
    ]  # fmt: skip
    pipeline = make_pipeline(steps=[{"type": "retrieve", "k": 3, "retriever": "bm25"}, "answer", "ground"])
    _, by_id = stages(world, tmp_path, kb=knowledge(tmp_path, [*documents(world), *noise]), pipeline=pipeline)
    assert by_id == {f"q{n}": "retrieved@k" for n in range(COUNT)}


def test_a_passage_that_was_not_shown(world, tmp_path, monkeypatch):
    install(monkeypatch)
    noise = [Document(f"n{n}", f"Where was the gadget g{n} made?", f"gadget g{n} made") for n in range(COUNT)]
    steps = [{"type": "retrieve", "k": 5, "retriever": "bm25"}, {"type": "answer", "passages": 1}, "ground"]
    _, by_id = stages(
        world, tmp_path, kb=knowledge(tmp_path, [*documents(world), *noise]), pipeline=make_pipeline(steps=steps)
    )
    assert by_id == {f"q{n}": "kept" for n in range(COUNT)}


def test_a_model_that_is_wrong_with_the_evidence_in_hand(world, tmp_path, monkeypatch):
    install(monkeypatch, lambda messages: "It was made on the moon [1].")
    found, by_id = stages(world, tmp_path)
    assert by_id == {f"q{n}": "generated" for n in range(COUNT)}
    assert found.reruns <= COUNT


def test_a_right_answer_that_a_check_refused(world, tmp_path, monkeypatch):
    install(
        monkeypatch, lambda messages: reader(messages).replace("The gadget", "Experts agree that this splendid gadget")
    )
    steps = [{"type": "retrieve", "k": 3}, "answer", {"type": "ground", "on_unsupported": "abstain", "overlap": 1.0}]
    _, by_id = stages(world, tmp_path, pipeline=make_pipeline(steps=steps))
    assert by_id == {f"q{n}": "cited" for n in range(COUNT)}


def test_an_answer_where_there_is_none_and_a_crash(tmp_path, monkeypatch):
    world = write_world(tmp_path / "world", 6, answers=False)

    def script(messages):
        return ModelError("fire") if "g1 made" in messages[-1].text else "Bern [1]."

    install(monkeypatch, script)
    _, by_id = stages(world, tmp_path, primary="right", fail_on_error=1.0)
    assert by_id.pop("q1") == "failed"
    assert set(by_id.values()) == {"generated"}


def test_retrieval_alone_is_blamed_without_a_rerun(world, tmp_path, monkeypatch):
    kb = knowledge(tmp_path, [d for d in documents(world) if d.id != "d4"])
    pipeline = make_pipeline(model=None, steps=[{"type": "retrieve", "k": 5}])
    metrics = [{"type": "retrieval", "k": [5]}]
    found, by_id = stages(world, tmp_path, kb=kb, pipeline=pipeline, metrics=metrics, primary="recall@5")
    assert by_id == {"q4": "ingested"}
    assert found.reruns == 0


def test_a_figure_that_is_not_there(world, tmp_path, monkeypatch):
    install(monkeypatch)
    folder = evaluate(plan(make_pipeline(), make_task(world, limit=2), tmp_path / "runs"))
    with pytest.raises(DataError, match="did you mean 'contains'"):
        blame(reopen(folder.path), metric="contans")
    (folder.path / "scores.jsonl").unlink()
    with pytest.raises(DataError, match="has no scores"):
        blame(reopen(folder.path))
