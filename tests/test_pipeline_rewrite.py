"""Other queries of a question: what is taken from a model, and what is found with it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.encoders.hashing import HashingEncoder
from llmkit.errors import ConfigError, StepError
from llmkit.knowledge.knowledge_base import KnowledgeBase
from llmkit.models.scripted import ScriptedChat
from llmkit.pipeline import Pipeline
from llmkit.pipeline.steps.retrieval.query_rewriters import numbered_lines
from llmkit.protocols import Rewriter, Rewritten
from llmkit.registry import lookup, names
from llmkit.retrieval.multi_query import HYPOTHETICAL, search
from llmkit.types import Document

TEXTS = {
    "pump": "The pump of the mill was serviced in May by Anna.",
    "anna": "Anna was born in Chur and studied in Bern.",
    "cheese": "Cheese is made from milk in the alpine dairy.",
    "bread": "Bread is baked from rye before dawn.",
}


@pytest.fixture
def kb(tmp_path):
    with KnowledgeBase.create(tmp_path / "kb", encoder=HashingEncoder()) as kb:
        kb.add([Document(name, text) for name, text in TEXTS.items()])
        yield kb


def asking(kb, rewriter, *outputs, k=2, retriever="bm25"):
    step = {"type": "retrieve", "k": k, "retriever": retriever, "rewriter": rewriter}
    pipeline = Pipeline(name="t", model="scripted:unused", steps=[step]).with_knowledge(kb)
    pipeline._models[pipeline.model.digest] = model = ScriptedChat(list(outputs))
    return pipeline, model


def documents(state):
    return [hit.chunk.document for hit in state.hits]


@pytest.mark.parametrize("word", names("rewriter"))
def test_every_rewriter_is_one(word):
    assert isinstance(lookup("rewriter", word)(), Rewriter)


def test_other_wordings_find_what_the_question_does_not(kb):
    pipeline, model = asking(kb, "multi-query", "1. Who made cheese?\n2) Where is milk from?")
    state = pipeline.run("dairy products")
    assert "cheese" in documents(state)
    (record,) = state.records
    assert [one["query"] for one in record.detail["queries"]] == [
        "dairy products",
        "Who made cheese?",
        "Where is milk from?",
    ]
    assert record.detail["prompt"] == "multi-query@v1"
    assert record.usage.calls == 1
    assert "dairy products" in model.calls[0][-1].text


def test_smaller_questions_are_each_retrieved_and_recorded(kb):
    pipeline, _ = asking(kb, "decompose", "1. Who serviced the pump?\n2. Where was Anna born?", k=2)
    state = pipeline.run("Birthplace?")
    assert set(documents(state)) == {"pump", "anna"}
    found = {one["query"]: one["hits"] for one in state.records[0].detail["queries"]}
    assert found["Who serviced the pump?"][0] == "pump#0"
    assert found["Where was Anna born?"][0] == "anna#0"


def test_a_step_back_takes_one_line(kb):
    pipeline, _ = asking(kb, "step-back", "1. How is cheese made?\n2. What is rye?")
    queries = pipeline.run("dawn").records[0].detail["queries"]
    assert [one["query"] for one in queries] == ["dawn", "How is cheese made?"]


def test_a_made_up_passage_is_searched_with_and_never_shown(kb):
    made_up = "In the alpine dairy cheese is made from milk."
    pipeline, _ = asking(kb, "hyde", made_up, k=4, retriever="dense")
    state = pipeline.run("What is Emmental made from?")
    assert documents(state)[0] == "cheese"
    assert state.records[0].detail["hypothetical"] == [made_up]
    assert all(hit.chunk.text in TEXTS.values() for hit in state.hits)


def test_hyde_beside_bm25_is_a_ranking_of_its_own(kb):
    hits, rankings = search(kb, lookup("retriever", "bm25")(), "pump", Rewritten(passages=("rye bread at dawn",)), 4)
    assert [one.query for one in rankings] == ["pump", ""]
    assert HYPOTHETICAL in rankings[1].hits[0].scores
    assert {"pump", "bread"} <= {hit.chunk.document for hit in hits}


@pytest.mark.parametrize(
    "said",
    [
        "",
        "I cannot help with that.",
        "1.",
        "1. ***\n2. ''",
        "1. dairy products",
        "- cheese\n- milk",
        "1. " + "x" * 1000,
        '{"queries": ["cheese"]}',
    ],
)
def test_a_reply_without_queries_changes_nothing_and_is_told(kb, said):
    pipeline, _ = asking(kb, "multi-query", said)
    state = pipeline.run("dairy products")
    plain = Pipeline(name="t", steps=[{"type": "retrieve", "k": 2, "retriever": "bm25"}]).with_knowledge(kb)
    assert state.hits == plain.run("dairy products").hits
    assert "no usable query" in state.records[0].detail["notes"][-1]
    assert len(state.records[0].detail["queries"]) == 1


def test_a_model_that_makes_up_nothing_is_told(kb):
    pipeline, _ = asking(kb, {"type": "hyde", "passages": 2}, " \n", "...")
    state = pipeline.run("cheese")
    assert documents(state)[0] == "cheese"
    empty, none = state.records[0].detail["notes"]
    assert empty.startswith("only the question was searched for: the model answered with no text")
    assert none == "the model wrote no passage: only the question was searched for"
    assert state.records[0].usage.calls == 2


def test_too_many_and_too_long_queries_are_left_out(kb):
    lines = "\n".join(f"{n}. query number {n}" for n in range(1, 60)) + "\n7. " + "y" * 400
    pipeline, _ = asking(kb, {"type": "multi-query", "queries": 2}, lines)
    detail = pipeline.run("cheese").records[0].detail
    assert [one["query"] for one in detail["queries"]] == ["cheese", "query number 1", "query number 2"]
    assert "longer than 300 characters" in detail["notes"][0]


def test_a_model_that_fails_fails_the_step(kb):
    pipeline, _ = asking(kb, "multi-query", RuntimeError("down"))
    with pytest.raises(StepError, match=r"steps\[0\] retrieve"):
        pipeline.run("cheese")


def test_a_prompt_with_other_variables_is_refused(tmp_path):
    with pytest.raises((ConfigError, ValueError), match="variables"):
        Pipeline(name="t", steps=[{"type": "retrieve", "rewriter": {"type": "hyde", "prompt": "answer@v1"}}])


@given(st.text(max_size=300))
def test_any_reply_can_be_read(text):
    for line in numbered_lines(text):
        assert line == line.strip()
        assert any(char.isalnum() for char in line)


@pytest.mark.slow
def test_a_local_model_rewrites_end_to_end(kb, weights_home):
    step = {"type": "retrieve", "k": 2, "retriever": "bm25", "rewriter": {"type": "multi-query", "queries": 2}}
    model = {"model": "local:smollm2", "max_tokens": 60}
    state = Pipeline(name="t", model=model, steps=[step]).with_knowledge(kb).run("Who serviced the pump?")
    assert documents(state)[0] == "pump"
    assert state.records[0].usage.calls == 1
    assert state.records[0].detail["queries"][0]["query"] == "Who serviced the pump?"
