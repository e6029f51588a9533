"""Training data: every layout, every kind of bad row, mining and its screens."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit import config
from llmkit.encoders.hashing import HashingEncoder
from llmkit.errors import ConfigError, DataError
from llmkit.evaluation.tasks.rows import BadRow
from llmkit.training.data import load, mined_format
from llmkit.training.data.corpus_index import CorpusIndex
from llmkit.training.data.detect_format import detect_source
from llmkit.training.data.examples import Example, Passage
from llmkit.training.data.hard_negatives import mine


def part(**settings):
    return config.build_part("examples", settings)


def split(found):
    found = list(found)
    return [one for one in found if isinstance(one, Example)], [str(one) for one in found if isinstance(one, BadRow)]


def test_pairs_of_a_table_with_their_bad_rows(tmp_path):
    file = tmp_path / "pairs.csv"
    file.write_text(
        "question,passage,no\nwhere is it,here it is,there\n,orphan passage,\nno passage,,\nsame,same,\nshort row\n",
        encoding="utf-8",
    )
    good, bad = split(part(type="pairs", path=str(file), negatives=["no"]).examples())
    assert [(one.query, one.positives[0].text, one.negatives[0].text) for one in good] == [
        ("where is it", "here it is", "there")
    ]
    assert [row.partition(": ")[::2] for row in bad] == [
        ("pairs.csv, line 3", "the question is empty"),
        ("pairs.csv, line 4", "no passage that answers it"),
        ("pairs.csv, line 5", "its passage is the question itself"),
        ("pairs.csv, line 6", "1 cells under 3 columns"),
    ]
    good, bad = split(part(type="pairs", path=str(file), query="frage").examples())
    assert not good
    assert "unknown column 'frage'" in bad[0]


def test_dprs_json(tmp_path):
    file = tmp_path / "dpr.json"
    context = {"title": "T", "text": "right", "passage_id": "7"}
    row = {"question": "q", "answers": ["right"], "positive_ctxs": [context]}
    row |= {
        "hard_negative_ctxs": [{"text": "hard"}, {"title": "T", "text": "right"}],
        "negative_ctxs": [{"text": "easy"}],
    }
    file.write_text(json.dumps([row, {**row, "positive_ctxs": []}, {"question": "x", "positive_ctxs": [{}]}, 3]))
    good, bad = split(detect_source(str(file)).examples())
    assert good[0].positives == (Passage("right", "T", "7"),)
    assert [one.text for one in good[0].negatives] == ["hard", "easy"], "a negative equal to the positive is none"
    assert [line.partition(":")[0] for line in bad] == [f"dpr.json, item {i}" for i in (1, 2, 3)]


def test_squad_and_folders_are_guessed_by_what_is_in_them(tmp_path):
    squad = tmp_path / "squad.json"
    asked = [
        {"id": "1", "question": "q", "answers": [{"text": "cold"}]},
        {"id": "2", "question": "r", "is_impossible": True, "answers": []},
    ]
    squad.write_text(json.dumps({"data": [{"title": "A", "paragraphs": [{"context": "cold water", "qas": asked}]}]}))
    good, bad = split(detect_source(str(squad)).examples())
    assert good[0].positives[0].indexed_text == "A\ncold water"
    assert bad == ["question 2: impossible question"]
    corpus = [{"_id": "d1", "title": "", "text": "one"}, {"_id": "d2", "text": "two"}]
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in corpus))
    (tmp_path / "queries.jsonl").write_text(json.dumps({"_id": "q1", "text": "which"}) + "\n")
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td2\t1\n")
    good, _ = split(detect_source(str(tmp_path)).examples())
    assert good[0].positives[0].text == "two"
    question = {"id": "a", "question": "what", "answers": ["one"], "relevant": ["d1"]}
    lost = {"id": "b", "question": "what else", "answers": [], "relevant": ["gone"]}
    (tmp_path / "train.jsonl").write_text(json.dumps(question) + "\n" + json.dumps(lost) + "\n")
    good, bad = split(detect_source(str(tmp_path / "train.jsonl")).examples())
    assert good[0].positives[0].text == "one"
    assert bad == ["question b: relevant document 'gone' is not in the corpus"]
    for wrong in ("nowhere.csv", str(tmp_path / "qrels")):
        with pytest.raises(DataError):
            detect_source(wrong)
    with pytest.raises(ConfigError, match="did you mean 'squad'"):
        detect_source("{type: sqad, path: x}")


def test_reading_counts_what_is_doubled_absent_and_bad():
    one = Example("Q?", (Passage("the answer is 42"),), answers=("42",), place="line 1")
    again = Example("q? ", (Passage("42 it is"),), (Passage("the answer is 42"), Passage("no")), place="line 2")
    absent = Example("r", (Passage("nothing here"),), answers=("Rome",), place="line 3")
    bad = BadRow("line 4", "the question is empty")
    found = load.read([one, again, absent, bad])
    assert [len(example.positives) for example in found.examples] == [2, 1]
    assert [p.text for p in found.examples[0].negatives] == ["no"], "another row's positive is no negative"
    assert (found.duplicates, found.absent, found.dropped) == (1, ["line 3"], 0)
    assert any("line 4" in note for note in found.notes())
    assert len(load.read([one, absent], absent="drop").examples) == 1
    with pytest.raises(DataError, match=r"no example.*\n.*line 4"):
        load.read([bad])


def test_a_dev_set_that_overlaps_is_refused_with_its_rows():
    train = [Example("What is it?", (Passage("a"),), place="train.csv, line 9")]
    load.refuse_overlap(train, [Example("What is that?", (Passage("a"),), place="x")])
    with pytest.raises(DataError, match=r"dev dev.csv, line 2 = train train.csv, line 9"):
        load.refuse_overlap(train, [Example("what  IS it?", (Passage("b"),), place="dev.csv, line 2")])
    with pytest.raises(DataError, match=r"(?s)1 questions of test are in train.*test t.csv, line 2 = train train.csv"):
        load.refuse_overlap(train, [Example("What is it?", (Passage("b"),), place="t.csv, line 2")], ("train", "test"))


@given(st.lists(st.lists(st.integers(0, 12), min_size=1, max_size=3), min_size=4, max_size=40), st.integers(0, 5))
def test_held_out_questions_share_no_passage_with_training(groups, seed):
    examples = [Example(f"q{i}", tuple(Passage(f"p{n}") for n in g)) for i, g in enumerate(groups)]
    try:
        train, dev = load.held_out(examples, 0.25, seed)
    except DataError:
        return  # everything hangs together
    assert len(train) + len(dev) == len(examples)
    seen = {p.key for one in train for p in one.positives}
    assert not any(p.key in seen for one in dev for p in one.positives)


def test_a_file_that_is_not_mined_says_what_it_is(tmp_path):
    with pytest.raises(DataError, match="data of the type pairs: name that `type`"):
        list(mined_format.Mined(path=str(tmp_path / "pairs.csv")).examples())
    (tmp_path / "pairs.jsonl").write_text('{"question": "When?", "passage": "In May."}\n')
    (bad,) = mined_format.Mined(path=str(tmp_path / "pairs.jsonl")).examples()
    assert str(bad) == "pairs.jsonl, line 1: unknown column 'positives' (known: question, passage)"


def test_mined_files_come_back_as_they_were(tmp_path):
    examples = [
        Example("q", (Passage("a", "T", "1"),), (Passage("b"), Passage("c")), ("x",), scores=(3.0, 1.5, -2.0)),
        Example("r", (Passage("b"),)),
    ]
    assert mined_format.write(tmp_path / "m.jsonl", examples) == 2
    back, bad = split(detect_source(str(tmp_path / "m.jsonl")).examples())
    assert not bad
    assert [(o.query, o.positives, o.negatives, o.answers, o.scores) for o in back] == [
        (o.query, o.positives, o.negatives, o.answers, o.scores) for o in examples
    ]
    half = {"query": "q", "positives": [{"text": "a", "score": 1}], "negatives": [{"text": "b"}]}
    (tmp_path / "h.jsonl").write_text(json.dumps(half) + "\n")
    _, bad = split(part(type="mined", path=str(tmp_path / "h.jsonl")).examples())
    assert "some passages have a score" in bad[0]


class Words:
    """A reranker: the share of the question's words in the passage, as a logit."""

    def rerank_all(self, queries, hits, k):
        return [self.one(query, found, k) for query, found in zip(queries, hits, strict=True)]

    def one(self, query, hits, k):
        from dataclasses import replace

        words = set(query.split())
        scored = [replace(hit, score=4.0 * len(words & set(hit.chunk.text.split())) - 6) for hit in hits]
        return sorted(scored, key=lambda hit: -hit.score)[:k]


def test_every_screen_drops_what_it_should_and_counts_it():
    positive = Passage("pump water cold tank")
    texts = [
        "pump water cold tank",  # the positive itself
        "pump water blue",  # a good negative
        "pump and FORTY two.",  # holds the answer
        "water pump cold tank",  # the same words: as near as the positive
        "gear belt",  # shares nothing: BM25 never finds it
        "water red fan",
    ]
    example = Example("pump water tank", (positive,), answers=("forty two",))
    pool = CorpusIndex.build([Passage(text) for text in texts], HashingEncoder(dim=512))
    found = mine([example], pool, sources=["bm25"], keep=5)
    assert sorted(p.text for p in found.examples[0].negatives) == ["pump water blue", "water red fan"]
    assert dict(found.dropped) == {"positive": 1, "answer": 1, "margin": 1}
    assert (found.candidates, found.kept, found.without) == (5, 2, 0)
    assert sum(found.dropped.values()) + found.kept == found.candidates
    both = mine([example], pool, sources=["bm25", "dense"], depth=6, keep=5)
    assert "gear belt" in {p.text for p in both.examples[0].negatives}
    judged = mine([example], pool, sources=["bm25"], keep=5, margin=1.0, reranker=Words()).examples[0]
    assert len(judged.scores) == 1 + len(judged.negatives)
    assert judged.scores[0] == 6.0
    strict = mine([example], pool, sources=["bm25"], margin=0.1)
    assert strict.without == 1
    assert any("no negative" in note for note in strict.notes())


def test_mining_on_the_command_line(tmp_path):
    from click.testing import CliRunner

    from llmkit.cli.train.mine import command

    corpus = [{"id": str(i), "title": "", "text": text} for i, text in enumerate(["a red pump", "a blue pump", "fans"])]
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in corpus))
    questions = [{"id": "q", "question": "which pump is red", "answers": ["red"], "relevant": ["0"]}, {"question": 3}]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in questions))
    out = tmp_path / "mined.jsonl"
    done = CliRunner().invoke(command, [str(tmp_path), "--encoder", "hashing", "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "left out: train.jsonl, line 2" in done.stderr
    assert "1 dropped: known positives" in done.stderr or "2 dropped: known positives" in done.stderr
    (example,), _ = split(detect_source(str(out)).examples())
    assert [passage.text for passage in example.negatives] == ["a blue pump", "fans"]


def test_a_pool_of_a_knowledge_base_is_its_chunks(tmp_path):
    from llmkit.knowledge.knowledge_base import KnowledgeBase
    from llmkit.types import Document

    with KnowledgeBase.create(tmp_path / "kb", encoder=HashingEncoder()) as kb:
        kb.add([Document("a", "Pumps move water.", title="Pumps"), Document("b", "Fans move air.")])
        pool = CorpusIndex.from_knowledge_base(kb)
    assert {p.indexed_text for p in pool.passages} == {"Pumps\nPumps move water.", "Fans move air."}
    again = CorpusIndex.build(pool.passages, HashingEncoder())
    np.testing.assert_allclose(pool.vectors, again.vectors, atol=1e-6)
