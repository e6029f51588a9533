"""Metrics: against a reference implementation, by hand, and where they must not give a number."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.evaluation.metrics.abstention import Abstention, is_right, risk_coverage
from llmkit.evaluation.metrics.answer import AnswerMatch
from llmkit.evaluation.metrics.citations import Citations
from llmkit.evaluation.metrics.exact import Label, Number
from llmkit.evaluation.metrics.normalize import contains, normalize, token_f1
from llmkit.evaluation.metrics.retrieval import Retrieval, average_precision, ndcg, recall, reciprocal_rank
from llmkit.evaluation.metrics.rouge import Rouge, longest_common_subsequence
from llmkit.evaluation.metrics.tools import ToolCall
from llmkit.tasks.concepts import Concepts
from llmkit.types import Answer, Chunk, Citation, Hit, Sample, Score, State, StepRecord


def chunk(document, text="text", ordinal=0):
    return Chunk(document, ordinal, 0, len(text), text, 3)


def state(text=None, *, documents=(), k=10, abstained=False, citations=(), texts=None):
    hits = tuple(Hit(chunk(name, (texts or {}).get(name, "text")), 1.0) for name in documents)
    answer = None if text is None else Answer(text, tuple(citations), abstained)
    records = (StepRecord("steps[0] retrieve", 0.0, detail={"k": k}),) if k else ()
    return State("q", hits=hits, retrieved=hits, answer=answer, records=records)


def values(metric, sample, found):
    return {name: score.value for name, score in metric.score(sample, found).items()}


def test_a_score_is_a_number_or_has_a_reason():
    for wrong in (math.nan, math.inf):
        with pytest.raises(ValueError, match="finite"):
            Score(wrong)
    with pytest.raises(ValueError, match="reason"):
        Score(None)
    assert Score.unscored("why").value is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The Eiffel Tower!", "eiffel tower"),
        ("an  apple, a pear", "apple pear"),
        ("state-of-the-art", "stateoftheart"),
        ("3.5 million", "35 million"),
        ("„Bern“", "bern"),
        ("ＡＢＣ株式会社", "abc株式会社"),
    ],
)
def test_squad_normalisation(text, expected):
    assert normalize(text) == expected


def test_japanese_is_compared_by_characters():
    assert token_f1("手塚治虫は漫画家", "手塚治虫") == pytest.approx(2 * 4 / (8 + 4))
    assert contains("医学博士の手塚治虫です。", "手塚治虫")
    assert normalize("手塚　治虫。") == "手塚 治虫"


@given(st.text(max_size=40), st.text(max_size=40))
def test_f1_is_symmetric_and_a_share(a, b):
    assert token_f1(a, b) == pytest.approx(token_f1(b, a))
    assert 0 <= token_f1(a, b) <= 1
    assert token_f1(a, a) == 1.0


def test_contains_wants_whole_words():
    assert contains("He was born in 1998 in Bern.", "1998")
    assert not contains("It cost 19980 francs", "1998")
    assert not contains("anything", "the")  # nothing is left of it


def test_answers_take_the_best_alias_and_marks_are_no_words():
    sample = Sample("1", "q", ("Bern", "the city of Bern"))
    assert values(AnswerMatch(), sample, state("Bern [1]")) == {"em": 1.0, "f1": 1.0, "contains": 1.0}
    found = values(AnswerMatch(), sample, state("It is Bern [1]."))
    assert found == {"em": 0.0, "f1": pytest.approx(0.5), "contains": 1.0}
    assert values(AnswerMatch(), sample, state("no", abstained=True))["f1"] == 0.0
    assert AnswerMatch().score(Sample("1", "q"), state("Bern")) == {}
    assert AnswerMatch().score(sample, state())["em"].reason


@pytest.mark.parametrize("metric", [AnswerMatch(), Abstention(), Citations(), Label(), Number(), Rouge()])
@pytest.mark.parametrize("raw", [None, "", " \n"])
def test_no_text_is_no_answer_and_no_abstention(metric, raw):
    found = state("" if raw is None else "Not found in the documents.", abstained=raw is not None)
    if raw is not None:
        found = found.replace(records=(StepRecord("steps[1] answer", 0.0, detail={"raw": raw}),))
    for sample in (Sample("1", "q", ("12",)), Sample("2", "q")):
        scores = metric.score(sample, found)
        assert all(score.value is None for score in scores.values())
        assert all("no text" in score.reason or "reference" in score.reason for score in scores.values())
    assert "right" in Abstention().score(Sample("2", "q"), found)


DOCUMENTS = st.lists(st.sampled_from([f"d{i}" for i in range(12)]), unique=True, min_size=1, max_size=12)


@given(
    ranking=DOCUMENTS,
    relevant=st.dictionaries(st.sampled_from([f"d{i}" for i in range(14)]), st.integers(1, 3), min_size=1, max_size=6),
    k=st.sampled_from([1, 5, 10]),
)
def test_ranking_measures_equal_trec_eval(ranking, relevant, k):
    import pytrec_eval

    measures = {f"recall.{k}", f"ndcg_cut.{k}", f"map_cut.{k}", "recip_rank"}
    run = {"q": {name: float(len(ranking) - i) for i, name in enumerate(ranking)}}
    found = pytrec_eval.RelevanceEvaluator({"q": relevant}, measures).evaluate(run)["q"]
    grades = {name: float(grade) for name, grade in relevant.items()}
    assert recall(ranking, grades, k) == pytest.approx(found[f"recall_{k}"], abs=1e-9)
    assert ndcg(ranking, grades, k) == pytest.approx(found[f"ndcg_cut_{k}"], abs=1e-9)
    assert average_precision(ranking, grades, k) == pytest.approx(found[f"map_cut_{k}"], abs=1e-9)
    assert reciprocal_rank(ranking, grades, 1000) == pytest.approx(found["recip_rank"], abs=1e-9)


def test_a_cut_deeper_than_the_search_is_unscored_not_low():
    sample = Sample("1", "q", ("Bern",), {"a": 1.0})
    metric = Retrieval(measures=["recall", "answer"], k=[1, 20])
    found = metric.score(sample, state(documents=["b", "a"], k=10, texts={"a": "Bern lies on the Aare"}))
    assert found["recall@1"].value == 0.0
    assert found["answer@1"].value == 0.0
    assert "retrieves 10 passages, not 20" in found["recall@20"].reason
    assert metric.score(sample, state(documents=["b", "a"], k=20, texts={"a": "Bern"}))["answer@20"].value == 1.0
    assert metric.score(sample, state(k=0))["recall@1"].reason == "the pipeline retrieves nothing"
    assert metric.score(sample, state(k=10))["recall@1"].value == 0.0  # searched, found nothing


def test_a_documents_rank_is_that_of_its_best_passage():
    sample = Sample("1", "q", relevant={"b": 1.0})
    hits = (*(Hit(chunk("a", ordinal=i), 1.0) for i in range(4)), Hit(chunk("b"), 0.5))
    found = Retrieval(measures=["mrr"], k=[5]).score(sample, State("q", retrieved=hits))
    assert found["mrr@5"].value == 0.5


def test_abstention_counts_each_kind_over_its_own_questions():
    answerable, unanswerable = Sample("1", "q", ("Bern",)), Sample("2", "q")
    metric = Abstention()
    assert values(metric, answerable, state("Bern it is")) == {
        "right": 1.0, "refused_wrongly": 0.0, "right_if_answered": 1.0
    }  # fmt: skip
    assert values(metric, answerable, state("no", abstained=True)) == {"right": 0.0, "refused_wrongly": 1.0}
    assert values(metric, unanswerable, state("no", abstained=True)) == {"right": 1.0, "refused": 1.0}
    assert values(metric, unanswerable, state("Bern"))["right_if_answered"] == 0.0
    assert is_right("Bern, Switzerland", ["Bern in Switzerland"])


def test_risk_coverage_by_hand():
    curve = risk_coverage([0.9, 0.8, 0.8, 0.1], [True, False, True, False])
    assert curve == [(0.25, 0.0), (0.75, pytest.approx(1 / 3)), (1.0, 0.5)]
    assert risk_coverage([0.9], [True], of=4) == [(0.25, 0.0)]
    assert risk_coverage([], []) == []


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=200))
def test_risk_coverage_ends_at_the_mean(pairs):
    curve = risk_coverage([c for c, _ in pairs], [r for _, r in pairs])
    assert [c for c, _ in curve] == sorted(c for c, _ in curve)
    assert curve[-1] == (1.0, pytest.approx(sum(not r for _, r in pairs) / len(pairs)))
    assert len(curve) <= 51


def test_citations_are_checked_again():
    text = "The warranty covers parts for 24 months."
    hits = (Hit(chunk("w", text), 1.0), Hit(chunk("s", "Parcels leave Bern."), 0.5))
    good = Citation(1, "w", "v", "w#0", 0, 40, text, supported=False, reason="not checked")
    bad = Citation(2, "s", "v", "s#0", 0, 10, "Parcels", supported=True, reason="a lie")
    sample = Sample("1", "q", relevant={"w": 1.0, "x": 1.0})
    both = State("q", hits=hits, answer=Answer(f"{text} [1][2]", (good, bad)))
    assert values(Citations(), sample, both) == {"grounded": 1.0, "citation_precision": 0.5, "citation_recall": 0.5}
    lied = State("q", hits=hits, answer=Answer(f"{text} [2]", (bad,)))
    assert values(Citations(), sample, lied)["grounded"] == 0.0
    bare = State("q", hits=hits, answer=Answer(text))
    assert Citations().score(sample, bare)["citation_precision"].reason == "the answer cites nothing"
    assert Citations().score(sample, state("no", abstained=True)) == {}


def test_rouge_by_hand():
    sample = Sample("1", "q", ("the cat sat on the mat",))
    found = values(Rouge(), sample, state("the cat lay on the mat"))
    assert found["rouge1"] == pytest.approx(5 / 6)
    assert found["rouge2"] == pytest.approx(3 / 5)
    assert found["rougeL"] == pytest.approx(5 / 6)


@given(st.lists(st.sampled_from("abc"), max_size=8), st.lists(st.sampled_from("abc"), max_size=8))
def test_the_longest_common_subsequence(a, b):
    def slow(i, j):
        if i == len(a) or j == len(b):
            return 0
        return slow(i + 1, j + 1) + 1 if a[i] == b[j] else max(slow(i + 1, j), slow(i, j + 1))

    assert longest_common_subsequence(a, b) == slow(0, 0)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [("positive", (1.0, 1.0)), ("It is Positive.", (1.0, 1.0)), ("positive or negative", (0.0, 0.0)),
     ("very positive", (0.0, 1.0)), ("unclear", (0.0, 0.0))],
)  # fmt: skip
def test_a_label_must_be_named_alone(answer, expected):
    metric = Label(labels=["positive", "negative", "very positive"])
    found = values(metric, Sample("1", "q", ("positive",)), state(answer))
    assert (found["accuracy"], found["labelled"]) == expected


def test_numbers_and_concepts():
    assert values(Number(), Sample("1", "q", ("1200",)), state("48 + 24 makes $1,200.00.")) == {"number": 1.0}
    assert values(Number(), Sample("1", "q", ("72",)), state("none")) == {"number": 0.0}
    assert Number().score(Sample("1", "q", ("many",)), state("72"))["number"].reason
    sample = Sample("1", "q", fields={"concepts": ["dog", "run", "tree", "dog"]})
    found = values(Concepts(), sample, state("The dogs were running."))
    assert found == {"concepts": pytest.approx(2 / 3), "all_concepts": 0.0}


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ('{"name": "area", "arguments": {"base": 10, "height": 5}}', (1.0, 1.0)),
        ('```json\n[{"name": "area", "arguments": {"base": 10, "height": 5, "unit": "Units"}}]\n```', (1.0, 1.0)),
        ('{"name": "area", "arguments": {"base": 10}}', (1.0, 0.0)),
        ('{"name": "area", "arguments": {"base": 10, "height": 5, "extra": 1}}', (1.0, 0.0)),
        ('{"name": "area", "arguments": {"base": true, "height": 5}}', (1.0, 0.0)),
        ('{"name": "volume", "arguments": {}}', (0.0, 0.0)),
        ("I would call area(10, 5)", (0.0, 0.0)),
    ],
)
def test_tool_calls(answer, expected):
    target = [{"area": {"base": [10], "height": [5], "unit": ["units", ""]}}]
    found = values(ToolCall(), Sample("1", "q", fields={"target": target}), state(answer))
    assert (found["tool"], found["tool_call"]) == expected


def test_no_call_where_none_fits():
    sample = Sample("1", "q", fields={"target": []})
    assert values(ToolCall(), sample, state("none"))["tool_call"] == 1.0
    assert values(ToolCall(), sample, state('{"name": "area", "arguments": {}}'))["tool_call"] == 0.0
