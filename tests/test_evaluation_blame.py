"""Blame: faults are put in at one stage, and that stage must be named."""

from __future__ import annotations

import json

import pytest
from evaluation import fact, install, make_pipeline, make_task, reader, write_world

from llmkit.encoders.hashing import HashingEncoder
from llmkit.errors import DataError, ModelError
from llmkit.evaluation.blame import blame
from llmkit.evaluation.plan import plan
from llmkit.evaluation.reopen import reopen
from llmkit.evaluation.run import evaluate
from llmkit.knowledge.base import KnowledgeBase
from llmkit.text.splitter import StructureSplitter
from llmkit.types import Document

COUNT = 20


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


def test_an_answer_cut_in_two(world, tmp_path, monkeypatch):
    install(monkeypatch)
    long = [f"The gadget g{n} was made in {fact(n)} " + "and it is good " * 3 for n in range(COUNT)]
    given = [Document(f"d{n}", text) for n, text in enumerate(long)]
    rows = "".join(json.dumps({"id": d.id, "title": "", "text": d.text}) + "\n" for d in given)
    (world / "corpus.jsonl").write_text(rows)
    kb = knowledge(tmp_path, given, StructureSplitter(max_tokens=10, overlap=0))
    if any(fact(n) in chunk.text for n in range(COUNT) for chunk in kb.chunks(sorted(kb.index.ids))):
        pytest.skip("this splitter kept the facts whole")
    _, by_id = stages(world, tmp_path, kb=kb)
    assert by_id == {f"q{n}": "chunked" for n in range(COUNT)}


def test_a_search_that_finds_other_things(world, tmp_path, monkeypatch):
    install(monkeypatch)
    noise = [
        Document(f"noise{n}", f"Where was the gadget g{n % COUNT} made? Where was it made? Nobody knows {n}.")
        for n in range(110 * COUNT)
    ]
    changed = [
        Document(d.id, d.text.replace("gadget", "thing").replace("made", "built"), d.title) for d in documents(world)
    ]
    rows = "".join(json.dumps({"id": d.id, "title": d.title, "text": d.text}) + "\n" for d in changed)
    (world / "corpus.jsonl").write_text(rows)

    def script(messages):
        text = messages[-1].text
        asked = text.rpartition("gadget ")[2].split()[0]
        for n in range(COUNT):
            if f"g{n}" == asked and f"{fact(n)}." in text:
                return f"The thing {asked} was built in {fact(n)} [1]."
        return "Not found in these documents."

    install(monkeypatch, script)
    pipeline = make_pipeline(steps=[{"type": "retrieve", "k": 3, "retriever": "bm25"}, "answer"])
    _, by_id = stages(world, tmp_path, kb=knowledge(tmp_path, [*changed, *noise]), pipeline=pipeline)
    assert by_id == {f"q{n}": "retrieved@100" for n in range(COUNT)}


def test_a_passage_found_too_low(world, tmp_path, monkeypatch):
    install(monkeypatch)
    noise = [
        Document(f"n{n}x{i}", f"Where was the gadget g{n} made? It was made, the gadget g{n}, somewhere {i}.")
        for n in range(COUNT) for i in range(6)
    ]  # fmt: skip
    pipeline = make_pipeline(steps=[{"type": "retrieve", "k": 3, "retriever": "bm25"}, "answer", "ground"])
    _, by_id = stages(world, tmp_path, kb=knowledge(tmp_path, [*documents(world), *noise]), pipeline=pipeline)
    assert len(by_id) >= COUNT * 0.9
    assert set(by_id.values()) == {"retrieved@k"}


def test_a_passage_that_was_not_shown(world, tmp_path, monkeypatch):
    install(monkeypatch)
    noise = [Document(f"n{n}", f"Where was the gadget g{n} made? It was made, the gadget g{n}.") for n in range(COUNT)]
    steps = [{"type": "retrieve", "k": 5, "retriever": "bm25"}, {"type": "answer", "passages": 1}, "ground"]
    _, by_id = stages(
        world, tmp_path, kb=knowledge(tmp_path, [*documents(world), *noise]), pipeline=make_pipeline(steps=steps)
    )
    assert len(by_id) >= COUNT * 0.9
    assert set(by_id.values()) == {"kept"}


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
