"""Filters: one language, two evaluators that agree."""

from __future__ import annotations

import json
import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from llmkit.encoders.hashing import HashingEncoder
from llmkit.errors import ConfigError
from llmkit.knowledge.filters.expression import Compare, Every, Exists, Not
from llmkit.knowledge.filters.where import WhereField, parse
from llmkit.knowledge.knowledge_base import KnowledgeBase
from llmkit.knowledge.local.filter_sql import compile_filter
from llmkit.types import Chunk, Document

TAGGED = Chunk(
    "d1", 0, 0, 1, "x", 1, title="T", page=3, part="Q1",
    metadata={"type": "pdf", "date": "2024-03-05", "tags": ["a", "b"], "author": {"name": "Ann"}, "n": 2.5, "ok": True, "none": None},
    access=("board", "hr"),
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        ('type == "pdf"', True),
        ("type == pdf and page >= 3", True),
        ("page > 3 or part == Q1", True),
        ("page > 3 and part == Q1", False),
        ("not page > 3", True),
        ("not (page > 3 or page < 3)", True),
        ("tags == a", True),
        ("tags in [c, 'b']", True),
        ("tags != a", False),
        ("author.name startswith An", True),
        ('author == "Ann"', False),
        ("date >= 2024 and date < 2024-04", True),
        ("date >= 2024-03-06", False),
        ("date == 2024 and date == 2024-03 and date == 2024-03-05", True),
        ("date != 2024", False),
        ("date in [2023, 2024]", True),
        ("date == 2023 or date == 2024-05", False),
        ("date <= 2024 and date <= 2024-03 and date >= 2024", True),
        ("date > 2024 or date > 2024-03 or date < 2024", False),
        ("date > 2023 and date < 2025", True),
        ("missing == 1", False),
        ("missing != 1", True),
        ("not missing == 1", True),
        ("exists author and exists tags and exists ok", True),
        ("exists missing or exists none", False),
        ("n > 2 and n <= 2.5", True),
        ("n == '2.5'", False),
        ("ok == true", True),
        ("ok == 1", False),
        ("document == d1 and title == T", True),
        ("type in []", False),
        ("author.name prefix An and type prefix 'p'", True),
        ("access == hr and access in [x, board] and exists access", True),
        ("access != hr or access prefix ceo", False),
        ("type == pdf and not tags == c or page == 99", True),
    ],
)
def test_text_form(text, passes):
    found = parse(text)
    assert found.matches(TAGGED) is passes
    assert by_sql(found, TAGGED) is passes
    assert parse(str(found)).matches(TAGGED) is passes


@pytest.mark.parametrize(
    ("mapping", "text"),
    [
        ({"type": "pdf"}, "type == pdf"),
        ({"type": "pdf", "page": {">=": 3, "<": 9}}, "type == pdf and page >= 3 and page < 9"),
        ({"type": ["pdf", "html"]}, "type in [pdf, html]"),
        ({"not": {"tags": "c"}}, "not tags == c"),
        ({"any": [{"page": 3}, {"part": "x"}]}, "page == 3 or part == x"),
        ({"exists": "author"}, "exists author"),
        ({"author.name": {"prefix": "An"}}, "author.name startswith An"),
        ({"or": [{"page": 3}, {"and": [{"part": "x"}]}]}, "page == 3 or part == x"),
        ({"access": ["hr", "x"]}, "access in [hr, x]"),
    ],
)
def test_mapping_form_says_the_same(mapping, text):
    assert parse(mapping).matches(TAGGED) == parse(text).matches(TAGGED) is True


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("type = pdf", "column 6: cannot read '= pdf'"),
        ("type == ", "column 9: expected a value, got 'the end'"),
        ("type like pdf", "unknown operator 'like'"),
        ("type statswith x", "did you mean 'startswith'"),
        ("(page > 1", r"expected '\)'"),
        ("page > 1 page < 2", "expected 'and', 'or' or the end"),
        ("page in 3", r"expected '\['"),
        ("== 3", "name of a field"),
        ("(" * 60 + "a == 1" + ")" * 60, "nested deeper"),
        ("a == 1 or " * 2000 + "a == 1", "characters"),
    ],
)
def test_mistakes_say_where_and_what(text, says):
    with pytest.raises(ConfigError, match=says):
        parse(text)


@pytest.mark.parametrize("mapping", [{"page": {"~": 3}}, {"all": 3}, {"not": 3}, {"a": None}, {'a"b': 1}, {"a": [{}]}])
def test_a_mapping_that_means_nothing_is_refused(mapping):
    with pytest.raises(ConfigError):
        parse(mapping)


def test_a_field_of_a_part_takes_both_forms_and_writes_itself():
    class Step(BaseModel):
        where: WhereField | None = None

    step = Step.model_validate({"where": {"type": "pdf"}})
    assert step.where == Compare("type", "==", "pdf") == Step.model_validate({"where": "type == pdf"}).where
    assert step.model_dump() == {"where": 'type == "pdf"'}
    with pytest.raises(ValueError, match="unknown operator"):
        Step.model_validate({"where": "type is pdf"})


def by_sql(found, chunk: Chunk) -> bool:
    db = sqlite3.connect(":memory:")
    db.execute("CREATE TABLE documents (id, metadata, access)")
    db.execute("CREATE TABLE chunks (page, part, title)")
    db.execute(
        "INSERT INTO documents VALUES (?, ?, ?)", (chunk.document, json.dumps(chunk.metadata), json.dumps(chunk.access))
    )
    db.execute("INSERT INTO chunks VALUES (?, ?, ?)", (chunk.page, chunk.part, chunk.title))
    condition, values = compile_filter(found)
    return bool(db.execute(f"SELECT count(*) FROM chunks c, documents d WHERE {condition}", values).fetchone()[0])


def test_filters_that_look_alike_to_python_are_not_taken_for_one_another(tmp_path):
    with KnowledgeBase.create(tmp_path / "kb", encoder=HashingEncoder()) as kb:
        kb.add([Document("yes", "x", metadata={"ok": True}), Document("one", "x", metadata={"ok": 1})])
        for text, name in (("ok == true", "yes"), ("ok == 1", "one"), ("ok == 1.0", "one"), ("ok == true", "yes")):
            assert [chunk.document for chunk in kb.chunks(kb.live_rows(parse(text)))] == [name], text


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, float("nan"), float("inf")])
def test_numbers_that_the_database_cannot_hold_are_refused(value):
    with pytest.raises(ConfigError, match="n takes whole numbers of 64 bits"):
        parse({"n": {"<": value}})
    assert parse({"n": {"<": 2**63 - 1}}).matches(TAGGED)
    assert by_sql(parse({"n": {"<": 1e30}}), TAGGED)


def test_a_list_may_be_as_long_as_a_filter_may_be(tmp_path):
    with KnowledgeBase.create(tmp_path / "kb", encoder=HashingEncoder()) as kb:
        kb.add([Document(f"d{i}", "x") for i in range(3)])
        wanted = parse({"document": [f"d{i}" for i in range(1, 3000)], "not": {"document": "d1"}})
        assert [chunk.document for chunk in kb.chunks(kb.live_rows(wanted))] == ["d2"]


names = st.sampled_from(["a", "b", "b.c", "page", "part", "title", "document", "access"])
scalars = st.sampled_from(["", "x", "xy", "Z", "é", 0, 1, 2, -1, 0.5, 2.0, True, False])
metadata = st.dictionaries(
    st.sampled_from(["a", "b"]),
    scalars | st.none() | st.lists(scalars, max_size=3) | st.dictionaries(st.just("c"), scalars, max_size=1),
)
compares = st.builds(Compare, names, st.sampled_from(["==", "<", "<=", ">", ">="]), scalars) | st.builds(
    Compare, names, st.just("startswith"), st.sampled_from(["", "x", "xy"])
)
filters = st.recursive(
    compares | st.builds(Exists, names),
    lambda inner: st.builds(Not, inner) | st.builds(Every, st.lists(inner, max_size=3).map(tuple), st.booleans()),
    max_leaves=6,
)


@given(
    filters,
    metadata,
    st.none() | st.integers(0, 2),
    st.none() | st.sampled_from(["", "x"]),
    st.sampled_from([(), ("x", "xy")]),
)
def test_sql_and_python_agree(found, values, page, part, access):
    chunk = Chunk("x", 0, 0, 1, "t", 1, title="Z", page=page, part=part, metadata=values, access=access)
    assert by_sql(found, chunk) is found.matches(chunk)


@given(filters)
def test_what_is_written_is_read_back_the_same(found):
    if isinstance(found, Every) and not found.inner:
        return
    written = str(found)
    if "true" in written.split() or "(true)" in written or "(false)" in written:
        return
    again = parse(written)
    chunk = Chunk("x", 0, 0, 1, "t", 1, metadata={"a": ["x", 1], "b": {"c": 2}})
    assert again.matches(chunk) == found.matches(chunk)


@given(st.text(max_size=80))
def test_any_text_is_a_filter_or_our_error(text):
    try:
        parse(text)
    except ConfigError:
        pass


def test_a_step_with_a_filter_writes_itself_as_yaml_and_back():
    from llmkit.pipeline.steps.retrieval.retrieve import Retrieve

    step = Retrieve(where="page >= 3 and not exists draft")
    assert Retrieve.model_validate({k: v for k, v in step.config().items() if k != "type"}) == step
    assert step.digest != Retrieve().digest
