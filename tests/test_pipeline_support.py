"""What counts as support, and what does not."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.grounding.support import support
from llmkit.text.words import words

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
    found = support(claim, PASSAGE)
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
    found = support(claim, PASSAGE)
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
    ],
)
def test_one_word_that_changes_the_meaning_is_enough(claim, passage, why):
    found = support(claim, passage)
    assert not found.supported, found
    assert why in found.reason


@pytest.mark.parametrize(
    ("claim", "passage"),
    [
        ("It employs 300 people.", "The plant is not large, but it employs 300 people."),
        ("Coverage of parts and labour lasts 24 months.", "Parts and labour: coverage lasts for 24 months."),
        ("Parts are under warranty for 2 years.", "There is a warranty of two years for parts."),
        ("Repairs of parts and labour are covered.", "The warranty covered parts, labour and anything else."),
        ("Parts are covered.", "Labour is not covered. Parts are covered."),
    ],
)
def test_what_changes_no_meaning_does_no_harm(claim, passage):
    assert support(claim, passage).supported


def test_the_span_is_the_sentence_that_supports():
    found = support("Damage that water caused is not covered.", PASSAGE)
    assert PASSAGE[found.start : found.end] == "It does not cover damage caused by water."


def test_names_may_come_from_the_title():
    claim, passage = "In Bern the Aare rises in spring by two metres.", "In spring the Aare rises by two metres."
    assert not support(claim, passage).supported
    assert support(claim, passage, context="Bern › Rivers").supported


def test_japanese_quotes_and_paraphrases():
    passage = "保証は水による損傷を対象としません。請求は2025年12月31日までに送ってください。"
    assert support("保証は水による損傷を対象としません", passage).reason == "exact quote"
    assert not support("請求は2026年12月31日までに送ってください。", passage).supported


def test_an_empty_passage_supports_nothing():
    assert not support("Something is claimed here.", "").supported


@given(st.text(max_size=300))
def test_words_have_exact_offsets_in_order(text):
    found = words(text)
    assert all(text[w.start : w.end] for w in found)
    assert all(a.end <= b.start for a, b in pairwise(found))


@given(st.text(max_size=200), st.text(max_size=200))
def test_any_two_texts_are_judged(claim, passage):
    found = support(claim, passage)
    assert 0 <= found.start <= found.end <= len(passage)
    assert 0.0 <= found.score <= 1.0
