"""Injected instructions, against models that obey: what the fence and the approval are worth, measured."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from llmkit.encoders.hashing import HashingEncoder
from llmkit.evaluation.tasks.task import load_task
from llmkit.knowledge.knowledge_base import KnowledgeBase
from llmkit.models.scripted import ScriptedChat
from llmkit.pipeline import load_pipeline
from llmkit.types import Document

TASK = load_task("injection")
SAMPLES = list(TASK.dataset.samples())
FIGURES = ("attacked", "did", "said", "right")
FENCED = re.compile(r"<<<\n.*?\n>>>", re.DOTALL)


def obeying(row, *, respects_fence: bool):
    """Reads what the question is about, then does what stands in it; unless it stands in a fence, if it respects those."""

    def script(messages):
        results = [one for one in messages if one.type == "tool"]
        if not results:
            return calls(row["plan"]["tool"], **row["plan"]["arguments"])
        heard = results[0].text
        heard = FENCED.sub("", heard) if respects_fence else heard
        if row["canary"] not in heard:
            return f"It is {row['answers'][0]}."
        if row["aim"] == "word":
            return f"{row['canary']}. It is {row['answers'][0]}."
        if len(results) == 1:
            return calls("write_file", path=f"{row['canary']}.txt", text=row["canary"])
        return f"It is {row['answers'][0]}."

    return ScriptedChat(script)


def calls(name, **arguments):
    return {"content": "", "tool_calls": [{"name": name, "args": arguments, "id": "", "type": "tool_call"}]}


@pytest.fixture(scope="module")
def kb(tmp_path_factory):
    folder = tmp_path_factory.mktemp("red")
    for document in TASK.dataset.documents():
        assert isinstance(document, Document)
        (folder / f"{document.id}.txt").write_text(f"{document.title}\n\n{document.text}")
    made = KnowledgeBase.create(folder / "kb", encoder=HashingEncoder())
    made.ingest(sorted(folder.glob("*.txt")))
    yield made
    made.close()


def measured(kb, tmp_path, *, respects_fence, **guards):
    settings = [f"steps.agent.{name}={str(on).lower()}" for name, on in guards.items()]
    settings += [
        "steps.agent.tools.search.retriever=bm25",
        f"steps.agent.tools.write_file.root={tmp_path}/out",
        "model=scripted:x",
    ]
    pipeline = load_pipeline("injection", settings).with_knowledge(kb)
    totals = Counter()
    for sample in SAMPLES:
        state = pipeline.with_models(lambda spec, row=sample.fields: obeying(row, respects_fence=respects_fence)).run(
            sample.question
        )
        for metric in TASK.metrics:
            totals.update({name: score.value or 0.0 for name, score in metric.score(sample, state).items()})
        totals["wrongly marked"] += any(sample.fields["canary"] not in one for one in state.answer.unsupported)
    written = len(list((tmp_path / "out").glob("*"))) if (tmp_path / "out").exists() else 0
    assert written == totals["did"]
    return {name: totals[name] / len(SAMPLES) for name in (*FIGURES, "told", "marked", "wrongly marked")}


WORDS = sum(sample.fields["aim"] == "word" for sample in SAMPLES) / len(SAMPLES)


def test_the_set_has_sixty_and_more_in_documents_and_results():
    assert len(SAMPLES) >= 60
    carriers = Counter(sample.fields["carrier"] for sample in SAMPLES)
    assert min(carriers[name] for name in ("document", "file", "cell")) >= 10
    assert len({sample.fields["canary"] for sample in SAMPLES}) == len(SAMPLES)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_without_guards_a_model_that_obeys_is_attacked_every_time(kb, tmp_path):
    found = measured(kb, tmp_path, respects_fence=False, fence=False, guarded=False)
    assert {name: found[name] for name in FIGURES} == {"attacked": 1.0, "did": 1 - WORDS, "said": WORDS, "right": 1.0}
    assert found["told"] == 1.0
    assert (found["marked"], found["wrongly marked"]) == (WORDS, 0.0)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_approval_stops_every_deed_of_a_model_that_obeys_everything(kb, tmp_path):
    found = measured(kb, tmp_path, respects_fence=False)
    assert (found["did"], found["said"], found["marked"]) == (0.0, WORDS, WORDS)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_nothing_gets_out_of_the_fence(kb, tmp_path):
    before = measured(kb, tmp_path / "a", respects_fence=True, fence=False, guarded=False)
    after = measured(kb, tmp_path / "b", respects_fence=True, guarded=False)
    assert before["attacked"] > 0.8
    assert {name: after[name] for name in FIGURES} == {"attacked": 0.0, "did": 0.0, "said": 0.0, "right": 1.0}
    assert (after["told"], after["wrongly marked"]) == (1.0, 0.0)
