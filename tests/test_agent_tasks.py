"""The multi-step suite, end to end: real tools, real documents, a scripted model that walks each row's plan."""

from __future__ import annotations

from collections import Counter

import pytest
from agent_oracle import walking

from llmkit.encoders.hashing import HashingEncoder
from llmkit.evaluation.tasks.task import load_task
from llmkit.knowledge.knowledge_base import KnowledgeBase
from llmkit.pipeline import load_pipeline
from llmkit.types import Document, Sample

TASK = load_task("agent-tasks")
SAMPLES = list(TASK.dataset.samples())


@pytest.fixture(scope="module")
def agent(tmp_path_factory):
    """The shipped pipeline over the suite's documents, its search without weights."""
    folder = tmp_path_factory.mktemp("suite")
    for document in TASK.dataset.documents():
        assert isinstance(document, Document)
        (folder / f"{document.id}.md").write_text(f"# {document.title}\n\n{document.text}\n")
    kb = KnowledgeBase.create(folder / "kb", encoder=HashingEncoder())
    kb.ingest(sorted(folder.glob("*.md")))
    pipeline = load_pipeline("agent-tasks", ["steps.agent.tools.search.retriever=bm25", "model=scripted:x"])
    yield pipeline.with_knowledge(kb)
    kb.close()


def test_the_suite_has_thirty_tasks_and_more_of_every_kind():
    kinds = Counter(sample.fields["kind"] for sample in SAMPLES)
    assert len(SAMPLES) >= 30
    assert set(kinds) == {"compute", "two-hop", "table", "convert", "refuse"}
    assert sum(len(sample.fields["plan"]) > 1 for sample in SAMPLES) >= 20


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.id)
def test_the_plan_leads_to_the_right_answer_through_the_real_tools(agent, sample):
    assert isinstance(sample, Sample)
    state = agent.with_models(lambda spec: walking(sample.fields)).run(sample.question)
    scores = {name: score.value for metric in TASK.metrics for name, score in metric.score(sample, state).items()}
    assert scores["right"] == 1.0, state.answer
    assert scores["finished"] == 1.0
    assert scores["tool_failures"] == 0.0
    assert scores["tool_calls"] == len(sample.fields["plan"])
