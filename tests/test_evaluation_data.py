"""Data sets: every layout read, every bad row told with its place."""

from __future__ import annotations

import gzip
import json

import pytest
from evaluation import make_task, write_world

from llmkit import config
from llmkit.errors import ConfigError, DataError, MissingExtra
from llmkit.evaluation.tasks.rows import BadRow
from llmkit.evaluation.tasks.task import chosen_samples, load_task, select
from llmkit.types import Document, Sample


def dataset(**fields):
    return config.build_part("dataset", fields)


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_rows_of_your_own_with_columns_of_your_own(tmp_path):
    path = write(tmp_path / "mine.jsonl", [
        {"nr": 7, "asked": "Who?", "hint": "a person", "gold": "Ada", "docs": ["a", "b"], "set": "s1"},
        {"nr": 8, "asked": "When?", "hint": "$5", "gold": [], "docs": []},
    ])  # fmt: skip
    part = dataset(type="rows", path=path, id="nr", question="$asked ($hint)", answers="gold", relevant="docs")
    first, second = part.samples()
    assert (first.id, first.question, first.answers) == ("7", "Who? (a person)", ("Ada",))
    assert dict(first.relevant) == {"a": 1.0, "b": 1.0}
    assert first.cluster == "a"
    assert second.question == "When? ($5)"  # a value is filled in once and never read as a template
    assert second.answers == ()


def test_a_missing_column_is_told_and_never_taken_for_unanswerable(tmp_path):
    path = write(tmp_path / "mine.jsonl", [{"question": "Who?", "answer": "Ada"}])
    (bad,) = dataset(type="rows", path=path).samples()
    assert isinstance(bad, BadRow)
    assert str(bad) == "mine.jsonl, line 1: unknown column 'answers'; did you mean 'answer'? (known: question, answer)"


def test_bad_rows_are_named_and_the_others_go_through(tmp_path):
    path = tmp_path / "mixed.jsonl"
    good = json.dumps({"id": "ok", "question": "Who?", "answers": "Ada"})
    path.write_text(f'{good}\nnot json\n[1]\n{{"id": "x", "answers": []}}\n{{"question": " ", "answers": []}}\n\n'
                    f'{{"question": "q", "answers": {{"a": 1}}}}\n')  # fmt: skip
    found = list(dataset(type="rows", path=str(path)).samples())
    assert [item.id for item in found if isinstance(item, Sample)] == ["ok"]
    told = [str(item) for item in found if isinstance(item, BadRow)]
    assert [text.split(":")[0] for text in told] == [f"mixed.jsonl, line {n}" for n in (2, 3, 4, 5, 7)]
    assert "expected an object, got list" in told[1]
    assert "unknown column 'question'" in told[2]
    assert "missing or empty" in told[3]
    assert "a text or a list of texts" in told[4]


def test_csv_and_gzip(tmp_path):
    (tmp_path / "a.csv").write_text('id,question,answers\n1,"Who, then?",Ada\n2,Short\n')
    good, bad = dataset(type="rows", path=str(tmp_path / "a.csv")).samples()
    assert (good.question, good.answers) == ("Who, then?", ("Ada",))
    assert str(bad) == "a.csv, line 3: 2 cells under 3 columns"
    with gzip.open(tmp_path / "b.jsonl.gz", "wt") as file:
        file.write('{"question": "Who?", "answers": "Ada"}\n')
    assert next(dataset(type="rows", path=str(tmp_path / "b.jsonl.gz")).samples()).id == "1"
    (tmp_path / "c.jsonl.gz").write_bytes(b"\x1f\x8b broken")
    with pytest.raises(DataError, match=r"c\.jsonl\.gz cannot be read"):
        list(dataset(type="rows", path=str(tmp_path / "c.jsonl.gz")).samples())
    (tmp_path / "d.csv").write_bytes("question\nWas heißt kühl?\n".encode("latin-1"))
    with pytest.raises(DataError, match="save it as UTF-8"):
        list(dataset(type="rows", path=str(tmp_path / "d.csv")).samples())


def test_a_spreadsheet_as_people_save_it(tmp_path):
    rows = '\ufeffquestion;answers\r\n"When; exactly?";May\r\nWho owns the mill?;\r\n'
    (tmp_path / "a.csv").write_bytes(rows.encode())
    first, second = dataset(type="rows", path=str(tmp_path / "a.csv")).samples()
    assert (first.question, first.answers) == ("When; exactly?", ("May",))
    assert second.answers == ()  # an empty cell is no answer, not an answer that is empty
    (tmp_path / "b.csv").write_text("")
    with pytest.raises(DataError, match="the first line must name the columns"):
        list(dataset(type="rows", path=str(tmp_path / "b.csv")).samples())


def test_history_becomes_turns(tmp_path):
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    path = write(tmp_path / "chat.jsonl", [{"question": "And?", "turns": turns}, {"question": "x", "turns": ["hi"]}])
    good, bad = dataset(type="rows", path=path, answers=None, history="turns").samples()
    assert [(turn.role, turn.content) for turn in good.history] == [("user", "Hi"), ("assistant", "Hello")]
    assert "a turn has a 'role'" in str(bad)


def test_beir(tmp_path):
    write(tmp_path / "corpus.jsonl", [{"_id": "d1", "title": "T", "text": "x"}, {"_id": "d2"}])
    write(tmp_path / "queries.jsonl", [{"_id": "q1", "text": "one"}, {"_id": "q2", "text": "two"}])
    (tmp_path / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\nq2\td1\tmany\n")
    part = dataset(type="beir", path=str(tmp_path))
    bad, sample = part.samples()
    assert "not 'many'" in str(bad)
    assert (sample.id, dict(sample.relevant)) == ("q1", {"d1": 2.0})
    document, broken = part.documents()
    assert isinstance(document, Document)
    assert str(broken) == "corpus.jsonl, line 2: a document needs 'id' (or '_id') and 'text'"


def test_squad_with_and_without_answers(tmp_path):
    asked = [
        {"id": "a", "question": "Where?", "answers": [{"text": "Bern"}, {"text": "Bern"}]},
        {"id": "b", "question": "Why?", "answers": [], "is_impossible": True},
        {"id": "c", "question": "What?", "answers": []},
    ]
    value = {"data": [{"title": "T", "paragraphs": [{"context": "In Bern.", "qas": asked}, {"qas": []}]}]}
    (tmp_path / "s.json").write_text(json.dumps(value))
    part = dataset(type="squad", path=str(tmp_path / "s.json"))
    a, b, c = part.samples()
    assert (a.answers, b.answers, a.cluster) == (("Bern",), (), "squad-0-0")
    assert str(c) == "s.json, data[0].paragraphs[0]: neither answers nor is_impossible"
    document, bad = part.documents()
    assert (document.id, document.title, document.text) == ("squad-0-0", "T", "In Bern.")
    assert "paragraphs[1]" in str(bad)
    (tmp_path / "s.json").write_text("[]")
    with pytest.raises(DataError, match="no list 'data'"):
        list(part.samples())


def test_dpr_and_hotpot(tmp_path):
    rows = [
        {"question": "Who?", "answers": ["Ada"], "positive_ctxs": [{"title": "A", "text": "Ada did", "passage_id": "9"}],
         "hard_negative_ctxs": [{"title": "B", "text": "Bob did"}], "negative_ctxs": []},
        "broken",
        {"question": "No context?", "answers": []},
    ]  # fmt: skip
    (tmp_path / "dpr.json").write_text(json.dumps(rows))
    part = dataset(type="dpr", path=str(tmp_path / "dpr.json"))
    good, broken, missing = part.samples()
    assert dict(good.relevant) == {"9": 1.0}
    assert str(broken) == "dpr.json, item 1: expected an object"
    assert "positive_ctxs" in str(missing)
    assert [document.title for document in part.documents()] == ["A", "B"]

    hotpot = [{"_id": "h", "question": "Both?", "answer": "yes", "supporting_facts": [["P", 0], ["Q", 1]],
               "context": [["P", ["One. ", "Two."]], ["Q", ["Three."]]]}]  # fmt: skip
    (tmp_path / "h.json").write_text(json.dumps(hotpot))
    part = dataset(type="hotpot", path=str(tmp_path / "h.json"))
    (sample,) = part.samples()
    assert (sample.answers, list(sample.relevant)) == (("yes",), ["P", "Q"])
    assert [document.text for document in part.documents()] == ["One. Two.", "Three."]


def test_a_name_on_the_hub_needs_its_package():
    part = dataset(type="huggingface", path="nobody/nothing")
    with pytest.raises((MissingExtra, DataError), match=r"pip install|cannot be loaded"):
        list(part.samples())


def test_a_folder_that_is_not_there():
    with pytest.raises(DataError, match=r"has no questions\.jsonl \(nor questions\.jsonl\.gz\)"):
        list(dataset(type="qa", path="/nowhere").samples())


def test_selection_is_repeatable_and_names_what_it_left_out(tmp_path):
    world = write_world(tmp_path / "w", 20)
    with (world / "questions.jsonl").open("a") as file:
        file.write('{"id": "q3", "question": "Again?", "answers": [], "relevant": []}\nbroken\n')
    task = make_task(world, limit=5, shuffle=3)
    once, again = select(task), select(task)
    assert once == again
    assert (len(once.positions), once.total, once.bad_count) == (5, 20, 2)
    assert str(once.bad[0]) == "sample 'q3': another sample has this id"
    assert [s.id for s in chosen_samples(task, once)] == [f"q{n}" for n in once.positions]
    assert select(make_task(world, limit=5)).digest != once.digest
    assert [s.id for s in chosen_samples(make_task(world, limit=2), select(make_task(world, limit=2)))] == ["q0", "q1"]


def test_nothing_usable_is_an_error(tmp_path):
    path = write(tmp_path / "x.jsonl", [{"a": 1}])
    with pytest.raises(DataError, match=r"no sample can be used: x\.jsonl, line 1"):
        select(make_task(tmp_path, dataset={"type": "rows", "path": path}))


def test_a_task_tells_all_that_is_wrong_with_it(tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text("name: x/y\ndataset: {type: jsnl, path: a}\nmetrics: [answr]\nlimit: 0\nextra: 1\n")
    with pytest.raises(ConfigError) as caught:
        load_task(path)
    text = str(caught.value)
    for part in ("line 1", "did you mean 'answer'", "limit", "extra", "unknown dataset type 'jsnl'"):
        assert part in text
    with pytest.raises(ConfigError, match="no metric gives 'f2'"):
        make_task(tmp_path, primary="f2")
    with pytest.raises(ConfigError, match="two metrics give 'em'"):
        make_task(tmp_path, metrics=["answer", "answer"])
    with pytest.raises(ConfigError, match="did you mean"):
        load_task("nq-dve")
    pipeline = tmp_path / "p.yaml"
    pipeline.write_text("name: p\nsteps: [retrieve]\n")
    with pytest.raises(ConfigError, match="is a pipeline, not a task"):
        load_task(pipeline)
