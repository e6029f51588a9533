"""What counts as support, and what does not."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.evaluation.metrics.groundedness import Groundedness
from llmkit.grounding import THRESHOLD, Passage, Support, find_support, judge_sentences
from llmkit.grounding.swaps import is_opposed
from llmkit.pipeline.steps.answering.ground import Ground
from llmkit.text.words import words
from llmkit.types import Answer, Chunk, Hit, Sample, State

PASSAGE = (
    "The warranty covers parts and labour for 24 months. It does not cover damage caused by water. "
    "Claims are sent to Acme Ltd. in Bern before 31 December 2025. The pump weighs 1,200.50 kg."
)


@pytest.mark.parametrize(
    ("claim", "why"),
    [
        ("It does not cover damage caused by water.", "exact quote"),
        ("it does NOT cover  damage caused by water", "exact quote"),
        ("Parts and labour are covered by the warranty for 24 months.", "content words"),
        ("The pump weighs 1200.5 kg", "exact quote"),
        ("Claims go to Acme in Bern before 31 December 2025.", "content words"),
    ],
)
def test_supported(claim, why):
    found = find_support(claim, PASSAGE)
    assert found.supported, found
    assert why in found.reason
    assert PASSAGE[found.start : found.end].strip()


@pytest.mark.parametrize(
    ("claim", "why"),
    [
        ("The warranty covers parts and labour for 36 months.", "number 36"),
        ("Claims are sent to Widget Ltd. in Bern before 31 December 2025.", "'widget'"),
        ("It does cover damage caused by water.", "negated"),
        ("The warranty does not cover parts and labour for 24 months.", "negated"),
        ("The seller pays for shipping to any country in the world.", "content words"),
        ("Widget Ltd. gets claims sent to Bern before 31 December 2025.", "name 'widget'"),
        ("The", "content words"),
        ("", "nothing is claimed"),
    ],
)
def test_unsupported(claim, why):
    found = find_support(claim, PASSAGE)
    assert not found.supported, found
    assert why in found.reason


@pytest.mark.parametrize(
    ("claim", "passage", "why"),
    [
        (
            "Widget covers parts and labour for 24 months.",
            "Acme covers parts and labour for 24 months.",
            "name 'widget'",
        ),
        ("The warranty covers water.", "It is not true that the warranty covers water.", "negated"),
        ("Parts are covered by the warranty.", "Neither labour nor parts are covered by the warranty.", "negated"),
        ("Parts are under warranty for two years.", "Parts are under warranty for three years.", "number two"),
        ("Parts are under warranty for 2 years.", "Parts are under warranty for three years.", "number 2"),
        (
            "The contract includes the boiler.",
            "The contract excludes the boiler.",
            "'includes' is not there, but an opp",
        ),
        ("Rents fell in 2021.", "Rents rose in 2021.", "'fell' is not there, but an opposite is"),
        ("The door of the shed is green.", "The door of the shed is white.", "'green' is not there, but an opposite"),
        (
            "The housing of the small valve is made of steel.",
            "The housing of the small valve is made of brass.",
            "'steel' stands where the passage says 'brass'",
        ),
        ("Das Gehäuse ist immer gelb.", "Das Gehäuse ist immer grau.", "'gelb' stands where the passage says 'grau'"),
        ("Frost damage is covered.", "No hail, frost or storm damage is covered.", "negated"),
        ("The boilers are covered.", "None of the pumps, the valves or the boilers is covered.", "negated"),
        ("Frost is covered.", "Hail is covered, frost is not.", "negated"),
        ("The seal holds water.", "It is not true, that the seal holds water.", "negated"),
        ("It covers the boiler.", "It does not cover the pump, the boiler or the valve.", "negated"),
        (
            "The plant is large, but it does not employ 300 people.",
            "The plant is not large, but it employs 300 people.",
            "negated",
        ),
    ],
)
def test_a_contradiction_is_not_supported_and_scores_at_most_half(claim, passage, why):
    found = find_support(claim, passage)
    assert not found.supported, found
    assert found.score <= 0.5
    assert why in found.reason


@pytest.mark.parametrize(
    ("claim", "passage", "why"),
    [
        ("Lena Roth", '"Never Look Down" is a 1974 record by Lena Roth. It sold well.', "exact quote"),
        ("Lena Roth", "“Can't hold on to you” was sung by Lena Roth.", "exact quote"),
        ("serif", "The foot of an l is not a tail; it is called a serif.", "content words"),
    ],
)
def test_a_negation_denies_only_what_its_clause_or_quotation_holds(claim, passage, why):
    found = find_support(claim, passage)
    assert found.supported, found
    assert why in found.reason


def test_a_negation_inside_a_quotation_denies_the_quotation():
    passage = "The report says “the old bridge is not safe” and was printed in May."
    assert not find_support("The report says the old bridge is safe.", passage).supported
    assert find_support("The report says the old bridge is not safe.", passage).supported


def test_a_short_answer_that_the_passage_denies_is_not_supported():
    assert not find_support("Lena Roth", "The record was not made by Lena Roth.").supported


def test_a_name_of_the_title_is_found_beside_a_word_of_the_passage():
    passage = "During the strike, Roth wrote for the paper."
    assert not find_support("Lena Roth", passage).supported
    assert find_support("Lena Roth", Passage(passage, "Lena Roth")).supported
    assert not find_support("Lena Roth", Passage("The strike went on.", "Lena Roth")).supported


@pytest.mark.parametrize(
    ("claim", "passage"),
    [
        ("It employs 300 people.", "The plant is not large, but it employs 300 people."),
        ("Coverage of parts and labour lasts 24 months.", "Parts and labour: coverage lasts for 24 months."),
        ("Parts are under warranty for 2 years.", "There is a warranty of two years for parts."),
        ("Repairs of parts and labour are covered.", "The warranty covered parts, labour and anything else."),
        ("Parts are covered.", "Labour is not covered. Parts are covered."),
        ("In spring the filter is washed.", "The filter is washed in spring."),
        ("The filter is washed every six weeks.", "The filter is washed every 6 weeks."),
        ("The plant employs 300 people.", "The plant is not large, but it employs 300 people."),
        ("Not only parts are covered.", "Parts are covered."),
        ("No, the seal is not replaced.", "The seal is not replaced."),
    ],
)
def test_what_changes_no_meaning_does_no_harm(claim, passage):
    assert find_support(claim, passage).supported


def test_the_span_is_the_sentence_that_supports():
    found = find_support("Damage that water caused is not covered.", PASSAGE)
    assert PASSAGE[found.start : found.end] == "It does not cover damage caused by water."


def test_names_may_come_from_the_title():
    claim, passage = "In Bern the Aare rises in spring by two metres.", "In spring the Aare rises by two metres."
    assert not find_support(claim, passage).supported
    assert find_support(claim, Passage(passage, "Bern › Rivers")).supported


def test_japanese_quotes_and_paraphrases():
    passage = "保証は水による損傷を対象としません。請求は2025年12月31日までに送ってください。"
    assert find_support("保証は水による損傷を対象としません", passage).reason == "exact quote"
    assert not find_support("請求は2026年12月31日までに送ってください。", passage).supported


def test_an_empty_passage_supports_nothing():
    assert not find_support("Something is claimed here.", "").supported


@given(st.text(max_size=300))
def test_words_have_exact_offsets_in_order(text):
    found = words(text)
    assert all(text[w.start : w.end] for w in found)
    assert all(a.end <= b.start for a, b in pairwise(found))


@given(st.text(max_size=200), st.text(max_size=200))
def test_any_two_texts_are_judged(claim, passage):
    found = find_support(claim, passage)
    assert 0 <= found.start <= found.end <= len(passage)
    assert 0.0 <= found.score <= 1.0
    assert found.supported <= (found.score >= THRESHOLD)


def test_the_best_of_many_passages_is_named_and_a_text_is_one_passage():
    rain, sun = "It rains in Bern in spring.", "The sun shines in Zurich all day."
    found = find_support("The sun shines in Zurich.", [rain, sun])
    assert (found.passage, found.supported) == (1, True)
    assert find_support("The sun shines in Zurich.", sun) == find_support("The sun shines in Zurich.", [sun])
    assert find_support("The sun shines.", []) == Support(0, 0, 0.0, "the passage is empty", supported=False)
    assert [one.score for one in judge_sentences("It rains in Bern. Snow falls.", (rain, sun))] == [1.0, 0.0]


_NOUNS = "pump valve seal motor filter boiler".split()
_VERBS = "covers excludes cleans drives opens".split()
_REST = "in spring|in 2021|for 12 weeks|every five days|without oil|near Bern|not often|with red paint".split("|")
_SENTENCE = st.builds(
    lambda noun, verb, other, rest: f"The {noun} {verb} the {other} {' '.join(rest)}.",
    st.sampled_from(_NOUNS),
    st.sampled_from(_VERBS),
    st.sampled_from(_NOUNS),
    st.lists(st.sampled_from(_REST), max_size=2, unique=True),
)


def _hit(text: str) -> Hit:
    return Hit(Chunk("document", 0, 0, len(text), text, 0), 1.0)


@given(st.lists(_SENTENCE, min_size=1, max_size=3), st.lists(_SENTENCE, min_size=1, max_size=3))
def test_step_and_metric_agree_on_every_answer(answer, passages):
    hits = tuple(_hit(text) for text in passages)
    text = " ".join(answer)
    checked = Ground().check(text, hits)
    judged = judge_sentences(text, passages)
    assert [sentence.supported for sentence in checked] == [sentence.supported for sentence in judged]
    assert [sentence.supported for sentence in judged] == [sentence.score >= THRESHOLD for sentence in judged]
    state = State("", hits=hits, answer=Answer(text))
    score = Groundedness().score(Sample("1", ""), state)["groundedness"].value
    assert score == pytest.approx(sum(sentence.score for sentence in judged) / len(judged))


@given(_SENTENCE, st.data())
def test_a_passages_own_words_score_one_in_any_order_where_nothing_is_denied(sentence, drawn):
    if any(word.negation for word in words(sentence)):
        sentence = sentence.replace("not ", "").replace("without", "with")
    order = drawn.draw(st.permutations(sentence.rstrip(".").split()))
    assert find_support(sentence, sentence).score == 1.0
    assert find_support(" ".join(order), sentence).score == 1.0


@given(_SENTENCE, st.data())
def test_one_changed_word_never_scores_as_the_passages_own_words_do(sentence, drawn):
    tokens = sentence.rstrip(".").split()
    place = drawn.draw(st.sampled_from([i for i, word in enumerate(tokens) if word not in {"The", "the", "in", "for"}]))
    kinds = "wall 99 Rome drops purple".split() + ["never"] * ("not" not in tokens)  # a second `not` is not seen
    tokens[place] = drawn.draw(st.sampled_from(kinds))
    changed = find_support(" ".join(tokens), sentence)
    assert changed.score < 1.0
    assert not (changed.supported and tokens[place] in {"99", "Rome", "never"})


@given(st.lists(_SENTENCE, min_size=1, max_size=4))
def test_every_sentence_of_a_passage_is_supported_by_it(given_sentences):
    for sentence in given_sentences:
        found = find_support(sentence, " ".join(given_sentences))
        assert found.supported, found
        assert found.score == 1.0


@pytest.mark.parametrize(
    ("word", "other", "expected"),
    [
        ("increased", "decreased", True),
        ("unable", "able", True),
        ("able", "unable", True),
        ("harmful", "harmless", True),
        ("red", "blue", True),
        ("monday", "friday", True),
        ("pump", "valve", False),
        ("increased", "increased", False),
    ],
)
def test_opposites(word, other, expected):
    assert is_opposed(word, {other}) is expected
    assert is_opposed(other, {word}) is expected
