"""A response that the evidence supports scores above one that it does not."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata

from llmkit.encoders.hashing import HashingEncoder
from llmkit.encoders.local import LocalEncoder
from llmkit.errors import DataError
from llmkit.grounding.antonyms import opposed
from llmkit.grounding.claims import Evidence, claims
from llmkit.grounding.groundedness import FEATURES, Groundedness, features, features_many, pieces

EVIDENCE = (
    "The warranty covers parts and labour for 24 months. Damage by water is not covered. "
    "Claims are sent to Acme Ltd. in Bern. Prices increased in 2024, and 36 shops opened."
)
FAITHFUL = "The warranty covers parts and labour for 24 months."


def score(response: str, evidence: str = EVIDENCE, query: str = "") -> float:
    return float(Groundedness().score_many([(evidence, query, response)])[0])


def test_a_quote_scores_one_and_an_invention_near_none():
    assert score(FAITHFUL) == 1.0
    assert score(EVIDENCE) == 1.0
    assert score("Customers praise the friendly staff of every branch.") < 0.2


@pytest.mark.parametrize(
    ("changed", "faithful", "field"),
    [
        ("The warranty covers parts and labour for 36 months.", FAITHFUL, "numbers"),
        ("The warranty does not cover parts and labour for 24 months.", FAITHFUL, "polarity"),
        ("Damage by water is covered.", "Damage by water is not covered.", "polarity"),
        ("Claims are sent to Acme Ltd. in Zurich.", "Claims are sent to Acme Ltd. in Bern.", "names"),
        ("Prices decreased in 2024.", "Prices increased in 2024.", "unopposed"),
    ],
)
def test_what_was_changed_is_seen(changed, faithful, field):
    assert score(changed) < score(faithful)
    evidence = Evidence.of(EVIDENCE)
    assert getattr(claims(changed, evidence)[0], field) < 1.0
    assert getattr(claims(faithful, evidence)[0], field) == 1.0


def test_a_changed_number_costs_more_than_a_changed_word():
    assert score("The warranty covers parts and labour for 36 months.") < score(
        "The warranty covers parts and labour for 24 weeks."
    )


def test_an_invented_sentence_beside_a_quote_costs_half():
    invented = "Customers praise friendly staff everywhere."
    assert score(f"{FAITHFUL} {invented}") == pytest.approx((1.0 + score(invented)) / 2)


def test_what_only_the_query_says_is_not_support():
    said = "Customers praise friendly staff."
    assert score(said, query=said) == score(said)
    row = features(EVIDENCE, said, said, HashingEncoder())
    assert row[FEATURES.index("not_echoed")] == 0.0
    assert features(EVIDENCE, said, "", HashingEncoder())[FEATURES.index("not_echoed")] == 1.0


@pytest.mark.parametrize("empty", ["", "  \n", "…!"])
def test_a_response_without_words_is_refused_with_its_place(empty):
    items = [(EVIDENCE, "", FAITHFUL), (EVIDENCE, "", empty)]
    with pytest.raises(DataError, match="item 1"):
        Groundedness().score_many(items)
    with pytest.raises(DataError, match="item 1"):
        features_many(items, HashingEncoder())


def test_no_evidence_supports_nothing():
    assert score(FAITHFUL, evidence="") == 0.0
    row = features("", FAITHFUL, "", HashingEncoder())
    assert row[FEATURES.index("cosine")] == 0.0
    assert row[FEATURES.index("found")] == 0.0
    assert Groundedness().score_many([]).shape == (0,)
    assert features_many([], HashingEncoder()).shape == (0, len(FEATURES))


def test_chinese_is_compared_by_character():
    evidence = "保修期为24个月。水造成的损坏不在保修范围内。"
    assert score("保修期为24个月。", evidence) == 1.0
    assert score("保修期为36个月。", evidence) < 1.0


_WORDS = st.sampled_from("pump valve 12 36 Bern not increased decreased the of water covers".split())
_SENTENCE = st.lists(_WORDS, min_size=1, max_size=7).map(lambda found: " ".join(found).capitalize() + ".")
_TEXT = st.lists(_SENTENCE, min_size=1, max_size=4).map(" ".join)


@given(_TEXT, st.data())
def test_every_sentence_of_the_evidence_scores_one(text, drawn):
    start, end = drawn.draw(st.sampled_from(_spans(text)))
    assert score(text[start:end], text) == 1.0


def _spans(text: str) -> list[tuple[int, int]]:
    return [(claim.start, claim.end) for claim in claims(text, Evidence.of(text))]


@given(st.lists(st.tuples(_TEXT, _TEXT, _TEXT), min_size=1, max_size=5))
def test_a_batch_is_its_items_one_by_one_in_order(items):
    together = Groundedness().score_many(items)
    assert together.tolist() == [float(Groundedness().score_many([item])[0]) for item in items]
    assert together.min() >= 0.0
    assert together.max() <= 1.0
    encoder = HashingEncoder()
    rows = features_many(items, encoder)
    alone = np.array([features(evidence, response, query, encoder) for evidence, query, response in items])
    np.testing.assert_allclose(rows, alone, atol=1e-6)
    assert rows.min() >= 0.0
    assert rows.max() <= 1.0


def test_a_sentence_longer_than_the_encoder_reads_is_parted_whole():
    encoder = HashingEncoder(max_tokens=8)
    text = " ".join(f"word{n}" for n in range(30))
    parts = pieces(text, encoder)
    assert len(parts) > 1
    assert "".join(parts) == text
    # the words that decide lie beyond the first 8 tokens
    near = features(text, text.split(" ", 20)[-1], "", encoder)
    assert near[FEATURES.index("cosine")] > 0.5
    assert near[FEATURES.index("order")] == 1.0


@pytest.mark.parametrize(
    ("word", "other", "expected"),
    [
        ("increased", "decreased", True),
        ("unable", "able", True),
        ("able", "unable", True),
        ("harmful", "harmless", True),
        ("pump", "valve", False),
        ("increased", "increased", False),
    ],
)
def test_opposites(word, other, expected):
    assert opposed(word, {other}) is expected
    assert opposed(other, {word}) is expected


def _judged(data, name):
    with gzip.open(data / "judge" / name / "items.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def _auc(labels, scores):
    ranks, good = rankdata(scores), labels.sum()
    return (ranks[labels == 1].sum() - good * (good + 1) / 2) / (good * (len(labels) - good))


@pytest.mark.slow
@pytest.mark.parametrize("part", ["wow", "cmu", "tc"])
def test_people_agree_on_each_part_of_begin(data, part):
    rows = [row for row in _judged(data, "begin-dev") if row["id"].startswith(f"begin-{part}-")]
    scores = Groundedness().score_many([(row["context"], row["query"], row["response"]) for row in rows])
    labels = np.array([row["label"] for row in rows])
    contexts = np.unique([row["context"] for row in rows], return_inverse=True)[1]
    members = [np.flatnonzero(contexts == context) for context in range(contexts.max() + 1)]
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(400):
        sample = np.concatenate([members[context] for context in rng.integers(0, len(members), len(members))])
        drawn.append(_auc(labels[sample], scores[sample]))
    assert np.percentile(drawn, 2.5) > 0.8


@pytest.mark.slow
def test_minilm_reads_sentences_of_any_length(weights_home):
    encoder = LocalEncoder()
    long = "pump " * 700 + "and the warranty covers labour"
    row = features(long, "The warranty covers labour.", "", encoder)
    assert 0.0 < row[FEATURES.index("cosine")] <= 1.0
    unbroken = "pneumonoultramicroscopicsilicovolcanoconiosis-" * 60 + " 保修期" * 300 + " \ufdfa" * 200
    assert "".join(pieces(unbroken, encoder)) == unbroken
    assert np.isfinite(features(unbroken, unbroken, "", encoder)).all()
    sense = features("The cat slept on the sofa.", "A kitten napped on the couch.", "", encoder)
    other = features("The cat slept on the sofa.", "A bank raised its interest rate.", "", encoder)
    assert sense[FEATURES.index("cosine")] > other[FEATURES.index("cosine")] + 0.2
