"""Front matter of Markdown: plain data that becomes metadata, and is not searched as text."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from llmkit import KnowledgeBase
from llmkit.encoders.hashing import HashingEncoder
from llmkit.knowledge.filters.where import parse
from llmkit.retrieval.dense_and_bm25 import Dense
from llmkit.text.formats.markup.front_matter import find
from llmkit.text.ledger import ledger, totals
from llmkit.text.loading.load_files import load
from llmkit.text.splitter import StructureSplitter
from llmkit.types import Document

FIELDS = """---
title: 2024
team: ops
tags: [draft, x]
author:
  name: Ann
Date: 2024-05-06
lang: no
priority: 3
open: true
---
# Pump

It is red.
"""


def one(path: Path, text: str) -> Document:
    path.write_text(text, encoding="utf-8")
    (document,) = load(path)
    return document


def test_every_key_is_metadata_of_its_kind_and_filters_find_it(tmp_path: Path) -> None:
    document = one(tmp_path / "a.md", FIELDS)
    assert document.title == "2024"
    assert {key: value for key, value in document.metadata.items() if key not in ("path", "type")} == {
        "team": "ops", "tags": ["draft", "x"], "author": {"name": "Ann"}, "date": "2024-05-06", "lang": "no",
        "priority": 3, "open": True,
    }  # fmt: skip
    assert not document.notes
    (chunk,) = StructureSplitter().split(document, HashingEncoder())
    for where in ("team == ops", "tags == draft", 'author.name == "Ann"', "date == 2024-05", "priority > 2"):
        assert parse(where).matches(chunk), where


@pytest.mark.parametrize("lead", ["", "\n", "\n  \n\n", "\r\n\t\r\n"])
def test_it_is_dropped_from_the_text_that_is_searched_and_the_ledger_says_so(tmp_path: Path, lead: str) -> None:
    text = f"{lead}---\nteam: ops\n---\n# Pump\n\nIt is red.\n"
    path = tmp_path / "a.md"
    path.write_bytes(text.encode())
    (document,) = load(path)
    chunks = StructureSplitter().split(document, HashingEncoder())
    assert document.text == text
    assert [document.text[chunk.start : chunk.end] for chunk in chunks] == ["# Pump\n\nIt is red."]
    assert [chunk.text for chunk in chunks] == ["# Pump\n\nIt is red."]
    spans = ledger(document, chunks)
    assert "".join(text[span.start : span.end] for span in spans) == text
    assert totals(spans)["dropped: front matter"] == len("---\nteam: ops\n---")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("access: hr", "hr"),
        ("Access: [hr, board]", ["hr", "board"]),
        ("access:\n  - hr\n  - board", ["hr", "board"]),
        ("access:", ""),  # no label: such a document is refused, not opened to everybody
        ("access: []", ""),
        ("access: hr\nteam: [ops", "hr"),
        ("team: [ops\naccess:\n- hr\n- board", "hr, board"),
        ("team: *x\n  access: hr", "hr"),
        ("- access: hr\n- team: ops", "hr, team: ops"),  # no label either
        ("access: hr\naccess: board", "hr; board"),
        ("access: hr\nAccess: board", "hr; board"),
    ],
)
@pytest.mark.parametrize("lead", ["", "\n\n"])
def test_access_is_never_lost(tmp_path: Path, line: str, said: object, lead: str) -> None:
    document = one(tmp_path / "a.md", f"{lead}---\n{line}\n---\nSecret.\n")
    assert document.metadata["access"] == said


def test_readers_see_only_what_its_access_allows(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "pay.md").write_text("\n\n---\naccess: hr\nteam: ops\n---\nThe mechanic earns 4,711 francs.\n")
    (folder / "pump.md").write_text("---\nteam: ops\n---\nThe pump is red.\n")
    (folder / "all.md").write_text("---\nteam: ops\n---\n")
    (folder / "none.md").write_text("---\naccess: []\n---\nFor whom?\n")
    kb = KnowledgeBase.create(tmp_path / "kb", encoder=HashingEncoder())
    summary = kb.ingest([folder])
    assert summary.documents == 3
    where = parse("team == ops")
    assert ["access" in reason for _, _, reason in summary.problems] == [True]
    with kb.as_reader(["it"]) as view:
        assert {hit.chunk.document for hit in Dense().retrieve(view, ["pump"], 9, where)[0]} == {"files/pump.md"}
    with kb.as_reader(["hr"]) as view:
        assert len(Dense().retrieve(view, ["pump"], 9, where)[0]) == 2


def test_what_is_not_plain_yaml_is_read_by_lines_with_a_note(tmp_path: Path) -> None:
    for wrong in ("x: !!python/name:os.system a", "x: &a [1]\ny: *a", "x: {{ page }}", "x: [", "y: " + "z" * 70_000):
        document = one(tmp_path / "a.md", f"---\ntitle: 'Pump'  # red\ntags: [draft]\n{wrong}\n---\nIt is red.\n")
        assert (document.title, document.metadata["tags"]) == ("Pump", "[draft]")
        assert "x" not in document.metadata
        assert "line by line" in document.notes[0]
        assert "longer than" in document.notes[0] or "line 4" in document.notes[0] or "line 5" in document.notes[0]
        assert "draft" in StructureSplitter().split(document, HashingEncoder())[0].text  # nothing is lost


def test_text_between_two_rules_is_text(tmp_path: Path) -> None:
    document = one(tmp_path / "a.md", "---\nMind the gap\n---\nIt is red.\n")
    assert not document.notes
    assert "gap" in StructureSplitter().split(document, HashingEncoder())[0].text
    assert find("no front") is None
    assert find("---\n---\nText\n---\n").end == len("---\n---\n")


def test_it_takes_nothing_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "4711")
    assert one(tmp_path / "a.md", "---\nteam: ${SECRET}\n---\nText\n").metadata["team"] == "${SECRET}"


def test_the_file_s_own_path_and_type_stay_and_odd_numbers_are_texts(tmp_path: Path) -> None:
    document = one(tmp_path / "a.md", f"---\ntype: post\nx: .nan\ny: [-.inf]\nz: {2**70}\n---\nText\n")
    assert (document.metadata["type"], document.metadata["path"]) == ("markdown", "a.md")
    assert "type left out" in document.notes[0]
    assert [document.metadata[key] for key in "xyz"] == ["nan", ["-inf"], str(2**70)]


def test_long_front_matter_takes_no_longer_than_it_is_long() -> None:
    started = time.perf_counter()
    find("\n" * 1_000_000 + "---\ntitle: a" + " " * 1_000_000 + "b\n---\n")
    find(f"---\nx: [\na{' ' * 1_000_000}b\naccess{' ' * 1_000_000}b\n---\n")
    find(f"---\nx: {'[' * 60_000}\n---\n")
    find(" " * 1_000_000 + "x")
    assert time.perf_counter() - started < 5
