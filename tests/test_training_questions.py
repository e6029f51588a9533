"""Questions from documents: what the rules make, what the model may say, what the round trip drops, how they are parted."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from llmkit.encoders.hashing import HashingEncoder
from llmkit.knowledge.knowledge_base import KnowledgeBase
from llmkit.models.scripted import ScriptedChat
from llmkit.training.synthetic.llm_questions import by_model, parse
from llmkit.training.synthetic.round_trip_filter import parted, sift, write
from llmkit.training.synthetic.rule_questions import Question, by_rules
from llmkit.types import Chunk, Document


def chunk(text, heading=(), document="d", ordinal=0, row=-1):
    return Chunk(document, ordinal, 0, len(text), text, 10, heading=heading, row=row)


def asked(text, **more):
    return {(q.kind, q.text, q.answer) for q in by_rules([chunk(text, **more)], per_passage=20, seed=0)[0]}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "A check valve is a valve that lets water flow in one direction only.",
            ("definition", "What is a check valve?", "a valve that lets water flow in one direction only"),
        ),
        (
            "The bridge over the river was opened to traffic in 1932.",
            ("cloze", "The bridge over the river was opened to traffic in what year?", "1932"),
        ),
        (
            "The treaty was signed by the two kings on 12 March 1804 and kept for years.",
            ("cloze", "The treaty was signed by the two kings on what date and kept for years?", "12 March 1804"),
        ),
        (
            "The reservoir above the town holds 4,500 litres of water in the summer.",
            ("cloze", "The reservoir above the town holds how many litres of water in the summer?", "4,500"),
        ),
        (
            "The tower was designed by Gustave Eiffel for the fair of that year.",
            ("cloze", "The tower was designed by what for the fair of that year?", "Gustave Eiffel"),
        ),
    ],
)
def test_rules_find_the_question_and_its_answer(text, expected):
    assert expected in asked(text)


@pytest.mark.parametrize(
    "text",
    [
        "It is a valve that lets water flow in one direction only.",
        "There is a valve that lets the water flow in one direction.",
        "Das Ventil ist seit 1932 in der Anlage und wird jedes Jahr geprüft.",
        "| a | table | of | the | 12 rows | in | it |",
        "The cost of the repair was the result of many small mistakes.",
        "Too short.",
    ],
)
def test_rules_leave_alone_what_they_would_get_wrong(text):
    assert not asked(text)


def test_headings_become_questions_once():
    parts = [chunk("text", ("Installing the pump",), ordinal=i) for i in range(2)]
    made, left = by_rules(parts, per_passage=3, seed=0)
    assert [q.text for q in made] == ["What is said about installing the pump?"]
    assert left["passages that offer no question"] == 1
    assert asked("x", heading=("How is it cleaned?",)) == {("heading", "How is it cleaned?", "")}
    assert asked("x", heading=("How to clean it",)) == {("heading", "How to clean it?", "")}
    assert not asked("x", heading=("Overview",))
    assert not asked("x", heading=("A pump is a machine",)), "the heading is the answer"


def test_the_same_seed_makes_the_same_choice_and_the_rest_is_counted():
    text = " ".join(f"The plant in the valley was closed by its owner in {1900 + i}." for i in range(9))
    first, left = by_rules([chunk(text)], per_passage=2, seed=1)
    assert len(first) == 2
    assert left["questions beyond 2 of a passage"] == 7
    assert by_rules([chunk(text)], per_passage=2, seed=1)[0] == first
    assert any(by_rules([chunk(text)], per_passage=2, seed=s)[0] != first for s in range(2, 6))


def test_a_models_reply_is_read_strictly():
    passage = chunk("The pump was built in 1932 by Acme.")
    good, left = parse("Q: When was the pump built?\nA: 1932\nQ: Who built it?\nA: Acme", passage)
    assert [(q.text, q.answer) for q in good] == [("When was the pump built?", "1932"), ("Who built it?", "Acme")]
    assert not left
    made, left = parse("Sure! Here you go:\nQ: When?\nA: 1933", passage)
    assert not made
    assert left == {"replies in another form than asked for": 1, "answers that do not stand in the passage": 1}
    assert parse("NONE", passage)[1] == {"passages that offer no question": 1}
    assert not parse("Q: Is it?\nA: 1932\nignore the rest", passage)[0]


def test_a_model_writes_what_the_prompt_asks_for():
    chat = ScriptedChat(["Q: When was it built?\nA: 1932", "no idea"])
    passages = [chunk("Built in 1932."), chunk("Nothing here.", ordinal=1)]
    made, left = by_model(passages, chat, per_passage=2)
    assert [(q.kind, q.answer) for q in made] == [("model", "1932")]
    assert left["replies in another form than asked for"] == 1
    assert "Built in 1932." in str(chat.calls[0])


@pytest.fixture
def kb(tmp_path):
    with KnowledgeBase.create(tmp_path / "kb", encoder=HashingEncoder()) as base:
        base.add(
            Document(name, text)
            for name, text in [
                ("pump", "The cooling pump of the plant was built in 1932."),
                ("valve", "The valve of the boiler opens at three bar."),
                ("twin", "The valve of the boiler opens at three bar."),
                *[(f"same-{i}", f"Machine {i} was paid for by the northern council.") for i in range(6)],
            ]
        )
        yield base


def test_the_round_trip_drops_what_is_not_found_or_answered_by_many(kb):
    chunks = {c.document: c for c in kb.chunks(kb.live_rows())}
    given = [
        Question("When was the cooling pump built?", "1932", "model", chunks["pump"]),
        Question("when was the cooling pump built", "1932", "model", chunks["pump"]),
        Question("What does the boiler's valve open at?", "three bar", "model", chunks["valve"]),
        Question("Who was machine 3 paid for by?", "northern council", "model", chunks["same-3"]),
        Question("Machine zebra umbrella?", "", "model", chunks["pump"]),
        Question("Overview?", "", "heading", chunks["pump"]),
        Question("Overview?", "", "heading", chunks["valve"]),
    ]
    sifted = sift(kb, given, top=1)
    assert [q.text for q in sifted.kept] == ["When was the cooling pump built?"]
    assert sifted.dropped == {
        "asked twice": 1,
        "passage stands in the documents more than once": 1,
        "answer in more than 3 of 20 passages": 1,
        "own passage not among the first 1": 1,
        "asked of several documents": 2,
    }


def test_no_document_is_on_both_sides_and_others_do_not_move_it(tmp_path):
    questions = [
        Question(f"q{i} {j}", "", "heading", chunk("t", document=f"d{i}")) for i in range(200) for j in range(2)
    ]
    train, dev = parted(questions, 0.25, seed=3)
    assert not {q.chunk.document for q in train} & {q.chunk.document for q in dev}
    assert 60 <= len(dev) <= 140
    fewer = parted(questions[:100], 0.25, seed=3)[1]
    assert fewer == [q for q in dev if q in questions[:100]]


@pytest.mark.slow
def test_documents_become_files_that_training_reads(weights_home, tmp_path):
    from llmkit.cli.train.questions import command
    from llmkit.training.data.mined_format import Mined

    folder = tmp_path / "docs"
    folder.mkdir()
    for i, (name, year) in enumerate([("bridge", 1932), ("tunnel", 1951), ("canal", 1874), ("harbour", 1903)]):
        (folder / f"{name}.md").write_text(
            f"# The {name} of the town\n\nThe {name} of the town was opened in {year}. It is kept by {i + 3} keepers.\n"
        )
    out = tmp_path / "q.jsonl"
    done = CliRunner().invoke(command, [str(folder), "--out", str(out), "--dev-share", "0.5", "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["train"]["questions"] + told["dev"]["questions"] == sum(told["kept"].values()) >= 4
    examples = [*Mined(path=str(out)).examples(), *Mined(path=str(tmp_path / "q.dev.jsonl")).examples()]
    assert any(one.answers == ("1932",) and "1932" in one.positives[0].text for one in examples)
    again = CliRunner().invoke(command, [str(folder), "--out", str(tmp_path / "r.jsonl"), "--dev-share", "0.5"])
    assert again.exit_code == 0
    assert (tmp_path / "r.jsonl").read_text() == out.read_text()


def test_mistakes_are_told(tmp_path, kb):
    from llmkit.cli.train.questions import command

    assert "give DOCS" in CliRunner().invoke(command, []).output
    assert "give DOCS" in CliRunner().invoke(command, ["x", "--kb", "y"]).output
    assert "does not exist" in CliRunner().invoke(command, ["x", "--out", str(tmp_path / "no" / "q.jsonl")]).output
    write([], tmp_path / "empty.jsonl")
    assert (tmp_path / "empty.jsonl").read_text() == ""
