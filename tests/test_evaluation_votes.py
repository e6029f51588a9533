"""A judge's reply is a vote only where its text casts one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.evaluation.metrics.vote import read_vote

FOR_A = [
    "A",
    "a",
    " A \n",
    "A.",
    "(A)",
    "[A]",
    "**A**",
    "**A.**",
    "`A`",
    '"A"',
    "“A”",
    "_A_",
    "A!",
    "Answer: A",
    "answer: A",
    "**Answer:** A",
    "ANSWER = A",
    "Letter: A.",
    "The answer is A",
    "The answer is A.",
    "The correct answer is **A**.",
    "My final answer is (A)",
    "Final answer: A",
    "Option A",
    "Choice: A",
    "Verdict: A",
    "I choose A",
    "I would pick option A.",
    "I vote for A",
    "A, since B is not what the passage says",
    "A\n\nB would need a second passage.",
    "A: The evidence supports the answer.",
    "A. The evidence supports the answer.",
    "A) The evidence supports the answer.",
    "A, since page two says so",
    "A\n\nThe price stands in the second passage.",
    "A because the price stands in the second passage",
    "The answer is A because the price is named.",
    "A - the passage names the price",
    '{"letter": "A"}',
    '{"verdict": "A", "reason": "the price is named"}',
    '```json\n{"answer": "A"}\n```',
    "<think>Could it be B? No.</think>A",
    "<think>B</think>\n**A**",
]
NO_VOTE = [
    "",
    "A?",
    "A/B",
    "A or B",
    "A and B",
    "Both A and B",
    "Neither A nor B",
    "B or not",
    "A careful look at the passages shows that nothing in them says so.",
    "a close reading says no",
    "A posteriori this is false",
    "A-list actors are not named in the evidence",
    "A's claim is wrong",
    "A good answer names the price; this one does not.",
    "A: wrong. It should be the second one.",
    "B, not sure though",
    "B is wrong",
    "Not B",
    "Option A is wrong",
    "The answer is A good summary of the passages.",
    "The answer is a",
    "I choose neither",
    "I choose A or B",
    "The evidence supports the answer.",
    "Yes",
    "No",
    "C",
    "AB",
    "1",
    "Answer:",
    "The answer is A. However, B could also be defended.",
    "A\n\nOn reflection, the answer is B.",
    "A. Looking again, B is right.",
    "Wait, A",
    "A but only if the second passage is older",
    '{"letter": "C"}',
    '{"letter": "A", "answer": "B"}',
    '{"letter": ["A"]}',
    '{"letter": "A"',
    "<think>A",
    "<think>it must be A</think>",
    "Bern is in Switzerland",
    "As the passage says, the price is 140 euros",
]


@pytest.mark.parametrize("reply", FOR_A)
def test_a_letter_alone_or_in_a_fixed_phrase_is_a_vote(reply):
    assert read_vote(reply) == "A"


@pytest.mark.parametrize(
    "reply",
    [
        "B",
        "b",
        "Answer: B",
        "I choose B",
        "(B)",
        '{"letter": "B"}',
        "<think>A?</think>B",
        "B: The evidence does not support the answer, which names a colour.",
        "B\n\nNo passage names a price.",
        "The answer is B, for a price is missing.",
    ],
)
def test_the_article_in_an_explanation_is_no_letter(reply):
    assert read_vote(reply) == "B"


@pytest.mark.parametrize("reply", NO_VOTE)
def test_prose_casts_no_vote(reply):
    assert read_vote(reply) is None


@given(st.text("AaBb .,:!?\n*()-/ornt", max_size=12))
def test_a_vote_is_a_letter_that_stands_in_the_text(reply):
    vote = read_vote(reply)
    assert vote is None or vote in reply or reply.strip(" *().!\n") == vote.lower()


@given(
    st.sampled_from(["{} or {}", "{}/{}", "{}, {}", "{} and {}", "{} {}", "({}) ({})", "Answer: {} or {}"]),
    st.booleans(),
)
def test_a_text_that_offers_both_letters_casts_no_vote(form, turned):
    assert read_vote(form.format(*("BA" if turned else "AB"))) is None
