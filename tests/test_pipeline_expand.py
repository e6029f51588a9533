"""Retrieve small, read large."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmkit.encoders.hashing import HashingEncoder
from llmkit.knowledge.knowledge_base import KnowledgeBase
from llmkit.models.scripted import ScriptedChat
from llmkit.pipeline import Pipeline
from llmkit.retrieval.context_expansion import expand
from llmkit.text.splitter import StructureSplitter
from llmkit.types import Hit

WORDS = "pump mill gate sluice wheel axle stone flour sack cart".split()


def page(title, count):
    return f"## {title}\n\n" + "\n\n".join(
        f"The {WORDS[n % 10]} of {title.lower()} number {n} is kept in order every day." for n in range(count)
    )


@pytest.fixture(scope="module")
def kb(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    (folder / "a.md").write_text("# Mill\n\n" + page("North", 14) + "\n\n" + page("South", 14))
    (folder / "b.md").write_text("# Farm\n\n" + page("East", 3))
    kb = KnowledgeBase.create(
        tmp_path_factory.mktemp("kb") / "kb", encoder=HashingEncoder(), splitter=StructureSplitter(max_tokens=40)
    )
    with kb:
        kb.ingest([folder])
        yield kb


def chunks(kb, name="a.md"):
    rows = kb.store.catalog.rows("SELECT c.row FROM chunks c JOIN documents d ON d.seq = c.document ORDER BY c.row")
    found = kb.chunks([row for (row,) in rows])
    return [chunk for chunk in found if chunk.document.endswith(name)]


def grown(kb, *ordinals, to="window", window=1, budget=1000):
    all_of = chunks(kb)
    hits = [Hit(all_of[n], 10.0 - i) for i, n in enumerate(ordinals)]
    return expand(kb, hits, to, window, budget)


def test_neighbours_are_joined_and_offsets_hold(kb):
    all_of = chunks(kb)
    assert len(all_of) >= 12
    (hit,) = grown(kb, 2).hits
    assert (hit.chunk.start, hit.chunk.end) == (all_of[1].start, all_of[3].end)
    assert hit.chunk.text == kb.document(hit.chunk.document).text[hit.chunk.start : hit.chunk.end]
    assert hit.chunk.row == all_of[2].row
    assert hit.chunk.id == all_of[2].id
    assert hit.score == 10.0


def test_hits_that_meet_become_one_with_the_best_score(kb):
    found = grown(kb, 4, 2, 9)
    assert [hit.score for hit in found.hits] == [10.0, 8.0]
    assert found.merged == 1
    all_of = chunks(kb)
    assert (found.hits[0].chunk.start, found.hits[0].chunk.end) == (all_of[2 - 1].start, all_of[5].end)


def test_a_section_ends_where_the_next_begins(kb):
    north = next(chunk for chunk in chunks(kb) if chunk.heading[-1:] == ("North",))
    (hit,) = grown(kb, north.ordinal, to="section").hits
    assert "of north number 13" in hit.chunk.text
    assert "of south" not in hit.chunk.text
    assert hit.chunk.heading == north.heading


def test_a_document_is_read_whole_within_the_budget(kb):
    all_of = chunks(kb)
    (hit,) = grown(kb, 3, 11, to="document").hits
    assert (hit.chunk.start, hit.chunk.end) == (all_of[0].start, all_of[-1].end)
    budget = sum(chunk.tokens for chunk in all_of[:3])
    found = grown(kb, 3, to="document", budget=budget)
    assert found.cut == 1
    assert found.hits[0].chunk.tokens <= budget
    assert all_of[3].text in found.hits[0].chunk.text


def test_a_chunk_larger_than_the_budget_stays_as_it_is(kb):
    all_of = chunks(kb)
    (hit,) = grown(kb, 3, budget=1).hits
    assert hit.chunk.text == all_of[3].text


@settings(max_examples=80)
@given(
    st.lists(st.integers(0, 11), min_size=1, max_size=8),
    st.sampled_from(["window", "section", "document"]),
    st.integers(0, 4),
    st.integers(1, 200),
)
def test_no_chunk_is_lost_or_given_twice(kb, ordinals, to, window, budget):
    all_of = chunks(kb)
    found = grown(kb, *ordinals, to=to, window=window, budget=budget)
    text = kb.document(all_of[0].document).text
    spans = sorted((hit.chunk.start, hit.chunk.end) for hit in found.hits)
    assert all(one[1] <= two[0] for one, two in pairwise(spans))
    for hit in found.hits:
        assert hit.chunk.text == text[hit.chunk.start : hit.chunk.end]
        assert hit.chunk.tokens <= max(budget, all_of[hit.chunk.ordinal].tokens)
    for n in ordinals:
        assert any(start <= all_of[n].start and all_of[n].end <= end for start, end in spans)
    assert [hit.score for hit in found.hits] == sorted((hit.score for hit in found.hits), reverse=True)
    assert len(found.hits) + found.merged == len(ordinals)


def test_citations_of_grown_passages_point_to_the_exact_place(kb):
    said = "The sluice of north number 3 is kept in order every day [1]."
    steps = [
        {"type": "retrieve", "k": 2, "retriever": "bm25"},
        {"type": "expand", "window": 2},
        "answer",
        "ground",
    ]
    pipeline = Pipeline(name="t", model="scripted:unused", steps=steps).with_knowledge(kb)
    pipeline._models[pipeline.model.digest] = ScriptedChat([said])
    state = pipeline.run("Is the sluice of north number 3 kept in order?")
    (citation,) = state.answer.citations
    assert citation.supported
    document = kb.document(citation.document, citation.version)
    assert document.text[citation.start : citation.end] == citation.quote
    assert "number 3" in citation.quote


def test_extract_reads_grown_passages(kb):
    steps = [
        {"type": "retrieve", "k": 2, "retriever": "bm25"},
        {"type": "expand", "to": "section", "budget": 30},
        {"type": "extract", "threshold": 0},
    ]
    state = Pipeline(name="t", steps=steps).with_knowledge(kb).run("Is the sluice of north number 3 kept in order?")
    (citation,) = state.answer.citations
    assert kb.document(citation.document).text[citation.start : citation.end] == citation.quote
    assert "budget is 30 tokens" in state.records[1].detail["notes"][0]


def test_nothing_found_grows_to_nothing(kb):
    assert expand(kb, [], "document", 1, 100).hits == []
