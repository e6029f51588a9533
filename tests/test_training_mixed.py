"""Several sources as one, and one source cut in two."""

from __future__ import annotations

import json

import pytest

from llmkit import config
from llmkit.errors import ConfigError, DataError
from llmkit.evaluation.tasks.rows import BadRow
from llmkit.training.data.examples import Example


def folder(path, prefix, questions=10, text="Mill {n} stands in town {n}."):
    path.mkdir()
    corpus = [{"id": f"{prefix}{n}", "title": "", "text": text.format(n=f"{prefix}{n}")} for n in range(questions // 2)]
    asked = [
        {"id": f"q{n}", "question": f"{prefix} question {n}?", "answers": [], "relevant": [f"{prefix}{n // 2}"]}
        for n in range(questions)
    ]
    for name, rows in (("corpus", corpus), ("questions", asked)):
        (path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"type": "qa", "path": str(path)}


def test_several_sources_are_one(tmp_path):
    a, b = folder(tmp_path / "a", "a"), folder(tmp_path / "b", "b", 4)
    both = config.build_part("examples", {"type": "several", "sources": [a, b, b]})
    assert [one.query[0] for one in both.examples()] == ["a"] * 10 + ["b"] * 8
    assert [one.id for one in both.documents()] == ["a0", "a1", "a2", "a3", "a4", "b0", "b1"]


def test_one_id_with_two_texts_is_refused(tmp_path):
    a, b = folder(tmp_path / "a", "x"), folder(tmp_path / "b", "x", text="Another mill {n}.")
    both = config.build_part("examples", {"type": "several", "sources": [a, b]})
    with pytest.raises(DataError, match="have the id 'x0' and different texts"):
        list(both.documents())


def test_no_source_is_a_mistake():
    with pytest.raises(ConfigError, match="sources"):
        config.build_part("examples", {"type": "several", "sources": []})


def test_both_sides_of_a_cut_are_the_whole_and_share_no_passage(tmp_path):
    source = folder(tmp_path / "a", "a", 40)
    with (tmp_path / "a" / "questions.jsonl").open("a") as file:
        file.write("not json\n")
    sides = {
        side: list(config.build_part("examples", {"type": "held", "part": side, "source": source}).examples())
        for side in ("train", "test")
    }
    good = {side: [one for one in rows if isinstance(one, Example)] for side, rows in sides.items()}
    assert sorted(one.query for rows in good.values() for one in rows) == sorted(f"a question {n}?" for n in range(40))
    assert len(good["test"]) == 20
    keys = [{p.key for one in rows for p in one.positives} for rows in good.values()]
    assert not keys[0] & keys[1]
    assert [sum(isinstance(one, BadRow) for one in rows) for rows in sides.values()] == [1, 0]
    other = config.build_part("examples", {"type": "held", "part": "test", "seed": 1, "source": source})
    assert [one.query for one in other.examples()] != [one.query for one in good["test"]]
