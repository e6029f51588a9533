"""Adoption by the gate: a better encoder is taken into use, a worse one is not, and both are said."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from llmkit import config
from llmkit.cli.train.adopt import command
from llmkit.encoders.hashing import HashingEncoder
from llmkit.errors import DataError
from llmkit.knowledge.knowledge_base import KnowledgeBase
from llmkit.training.data import load, seen_questions
from llmkit.training.data.examples import Example, Passage
from llmkit.training.retriever.compare_encoders import trial
from llmkit.types import Document

HALLS = ["north", "south", "east", "west", "upper", "lower", "old", "new"]
PARTS = ["pump", "valve", "boiler", "fan", "gate", "motor", "filter", "crane"]
TEXTS = [f"The {part} of the {hall} hall was serviced by team {i}{j}." for i, part in enumerate(PARTS) for j, hall in enumerate(HALLS)]  # fmt: skip


@pytest.fixture
def kb(tmp_path):
    """A knowledge base whose encoder folds all words into eight numbers."""
    with KnowledgeBase.create(tmp_path / "kb", encoder=HashingEncoder(dim=8)) as base:
        base.add(Document(f"d{i}", text) for i, text in enumerate(TEXTS))
        yield base


@pytest.fixture
def questions(tmp_path):
    file = tmp_path / "held-out.jsonl"
    rows = [
        {"query": text.replace("was serviced by", "").rstrip("."), "positives": [{"text": text, "id": f"d{i}"}]}
        for i, text in enumerate(TEXTS)
    ]
    file.write_text("\n".join(map(json.dumps, rows)))
    return file


def run(kb, questions, candidate, *more):
    return CliRunner().invoke(command, [candidate, "--kb", str(kb.path), "--questions", str(questions), *more])


def test_a_better_encoder_is_adopted_and_the_old_generation_keeps_its_own(kb, questions):
    generation = kb.generation
    tried = run(kb, questions, "{type: hashing, dim: 512}", "--dry-run")
    assert tried.exit_code == 0
    assert "dry run, nothing was changed: adopted: MRR@10" in tried.output
    with KnowledgeBase.open(kb.path) as same:
        assert same.generation == generation, "a trial changes nothing"
    done = run(kb, questions, "{type: hashing, dim: 512}", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["adoption"]["generation"] == generation + 1
    assert told["verdict"]["new"] > told["verdict"]["old"] + 0.1
    with KnowledgeBase.open(kb.path) as new, KnowledgeBase.open(kb.path, as_of=generation) as old:
        assert (new.dim, old.dim) == (512, 8)


def test_questions_the_candidate_was_trained_with_are_refused(kb, questions, tmp_path):
    rows = load.read(config.build_part("examples", {"type": "mined", "path": str(questions)}).examples())
    trained = tmp_path / "trained"
    trained.mkdir()
    seen_questions.write(trained, rows.examples[:7])
    candidate = SimpleNamespace(model=str(trained))
    with pytest.raises(DataError, match=r"(?s)7 of 64 questions .*held-out\.jsonl, line 1: .* and 2 more"):
        trial(kb, candidate, rows.examples)
    seen_questions.refuse(candidate, rows.examples[7:])
    seen_questions.refuse(HashingEncoder(dim=8), rows.examples)


def test_a_worse_encoder_is_refused_and_nothing_changes(kb, questions):
    run(kb, questions, "{type: hashing, dim: 512}")
    with KnowledgeBase.open(kb.path) as base:
        before = base.generation, base.identity
    refused = run(kb, questions, "{type: hashing, dim: 16}")
    assert refused.exit_code == 1
    assert "not adopted, the old one stays" in refused.output
    with KnowledgeBase.open(kb.path) as base:
        assert (base.generation, base.identity) == before


def test_questions_without_their_passage_are_counted_and_none_at_all_is_refused(kb):
    here = Example("the pump of the north hall", (Passage(TEXTS[0]),))
    gone = Example("who?", (Passage("Nobody."),))
    found = trial(kb, HashingEncoder(dim=16), [here, gone])
    assert found.left == {"questions whose passage is not in the knowledge base": 1}
    assert found.verdict.comparison.difference.n == 1
    assert not found.verdict.adopted, "one question says nothing"
    with pytest.raises(DataError, match="none of the 1 questions"):
        trial(kb, HashingEncoder(dim=16), [gone])
