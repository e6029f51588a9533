"""The loop alone: every reason to stop, the best round and not the last, budgets, critiques that cannot be read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.refine.critique import Critique, parse_critique
from llmkit.refine.loop import Judgement, Limits, Spending, run_loop
from llmkit.refine.vote import extract_answer, majority_vote
from llmkit.types import Usage, Verdict

CALL = Usage(10, 5, 1)


def run(scores, **limits):
    """A loop over drafts d0, d1, … whose verifier gives these scores; each proposal is one call."""
    spent = Spending(Limits(**{"rounds": len(scores) - 1, **limits}))

    def propose(rounds):
        spent.add(CALL)
        return f"d{len(rounds)}"

    def judge(draft):
        return Judgement((("rule", Verdict(scores[int(draft[1:])], ("mend it",))),))

    return run_loop("d0", judge, propose, spent), spent


@pytest.mark.parametrize(
    ("scores", "limits", "stopped", "kept", "rounds"),
    [
        ([0.2, 1.0, 0.5], {}, "accepted", 1, 2),
        ([1.0, 0.5], {}, "accepted", 0, 1),
        ([0.2, 0.8, 0.5, 0.4], {}, "rounds", 1, 4),
        ([0.5, 0.5, 0.5], {}, "rounds", 0, 3),
        ([0.5, 0.4, 0.4, 0.9], {"patience": 2}, "no gain", 0, 3),
        ([0.1, 0.2, 0.1, 0.3, 0.2, 0.2, 0.9], {"patience": 2}, "no gain", 3, 6),
        ([0.1, 0.2, 0.3, 0.4], {"calls": 2}, "calls", 2, 3),
        ([0.1, 0.2, 0.3, 0.4], {"tokens": 30}, "tokens", 2, 3),
        ([0.1, 0.2, 0.3, 0.4], {"tokens": 31}, "rounds", 3, 4),
        ([0.1, 0.2, 0.3], {"calls": 1, "cost": 2}, "calls", 0, 1),
        ([0.1, 0.2], {"rounds": 0}, "rounds", 0, 1),
    ],
)
def test_why_it_stops_and_what_is_kept(scores, limits, stopped, kept, rounds):
    found, spent = run(scores, **limits)
    assert (found.stopped, found.kept.n, len(found.rounds)) == (stopped, kept, rounds)
    assert found.record["stopped"] == stopped
    assert found.record["kept"] == kept
    assert "highest score" in found.why
    assert spent.usage.calls == rounds - 1
    assert sum(row["calls"] for row in found.record["rounds"]) == spent.usage.calls


@given(
    st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), min_size=1, max_size=8),
    st.none() | st.integers(1, 4),
    st.none() | st.integers(1, 9),
    st.none() | st.integers(1, 150),
)
def test_the_best_is_kept_and_no_budget_is_passed(scores, patience, calls, tokens):
    found, spent = run(scores, patience=patience, calls=calls, tokens=tokens)
    seen = [one.judgement.score for one in found.rounds]
    assert found.kept.judgement.score == max(seen)
    assert seen.index(max(seen)) == found.kept.n
    assert len(found.rounds) <= len(scores)
    assert calls is None or spent.usage.calls <= calls
    assert tokens is None or spent.usage.input_tokens + spent.usage.output_tokens < tokens + 15
    assert (found.stopped == "accepted") == (seen[-1] == 1.0)


def critic(*replies, **limits):
    """A loop in which only a critic judges."""
    spent = Spending(Limits(**{"rounds": len(replies) - 1, **limits}))
    waiting = iter(replies)

    def judge(draft):
        said = next(waiting)
        return Judgement(critique=parse_critique(said), critic_reply=said)

    return run_loop("d0", judge, lambda rounds: f"d{len(rounds)}", spent)


def test_a_critic_alone_scores_and_accepts():
    found = critic("SCORE: 6\nACCEPT: no\nFEEDBACK: a", "SCORE: 3\nACCEPT: no\nFEEDBACK: b", "SCORE: 5\nACCEPT: yes")
    assert (found.stopped, found.kept.n) == ("accepted", 0)
    assert found.why == "it has the highest score, 0.600, given by the critic"


def test_without_any_score_the_first_accepted_is_kept_and_that_is_said():
    found = critic("ACCEPT: no\nFEEDBACK: a", "ACCEPT: yes")
    assert (found.stopped, found.kept.n) == ("accepted", 1)
    assert found.why == "no round has a score; this is the first that the critic accepted"
    found = critic("ACCEPT: no\nFEEDBACK: a", "ACCEPT: no\nFEEDBACK: b", patience=1)
    assert (found.stopped, found.kept.n) == ("rounds", 1)
    assert found.why == "no round was scored or accepted; this is the last one, as in the paper"


def test_a_critique_that_cannot_be_read_keeps_the_draft_and_is_recorded():
    found = critic("I think it is great!", "never asked")
    assert (found.stopped, found.kept.n) == ("unparsable critique", 0)
    assert found.record["rounds"][0]["critic"] == "I think it is great!"
    assert found.record["rounds"][0]["parsed"] is False
    found = critic("ACCEPT: no\nFEEDBACK: a", "blah", "never asked")
    assert (found.stopped, found.kept.n, found.kept.draft) == ("unparsable critique", 1, "d1")


def test_verifiers_go_on_where_the_critic_cannot_be_read():
    spent = Spending(Limits(rounds=3))
    scores = iter([0.1, 0.5, 0.8, 0.7])
    found = run_loop(
        "d0",
        lambda draft: Judgement((("rule", Verdict(next(scores), ("x",))),), None, "?"),
        lambda rounds: f"d{len(rounds)}",
        spent,
    )
    assert (found.stopped, found.kept.n) == ("rounds", 2)
    first = Judgement((("rule", Verdict(0.1, ("x",))),), None, "?")
    assert first.score == 0.1
    assert not first.accepted
    assert Judgement((("rule", Verdict(1.0)),), None, "?").accepted is False, "the critic was asked and said nothing"
    assert Judgement((("rule", Verdict(1.0)),), Critique(True), "ACCEPT: yes").accepted
    assert not Judgement((("rule", Verdict(1.0)),), Critique(False, "x"), "…").accepted
    assert not Judgement().accepted


def test_an_empty_proposal_is_no_draft():
    spent = Spending(Limits(rounds=2))
    drafts = iter(["", "d2"])
    scores = {"d0": 0.5, "d2": 0.7}
    found = run_loop("d0", lambda d: Judgement((("r", Verdict(scores[d])),)), lambda rounds: next(drafts), spent)
    assert (found.kept.n, found.rounds[1].judgement.score) == (2, None)
    found = run_loop("d0", lambda d: Judgement((("r", Verdict(0.0)),)), lambda rounds: " ", Spending(Limits(rounds=2)))
    assert found.kept.n == 0


@pytest.mark.parametrize(
    ("reply", "critique"),
    [
        ("SCORE: 7\nACCEPT: no\nFEEDBACK: Too long.", Critique(False, "Too long.", 0.7)),
        ("  score: 10/10\n\naccept: YES.\n", Critique(True, "", 1.0)),
        ("ACCEPT: yes", Critique(True)),
        ("ACCEPT: no\nFEEDBACK:\nline one\nline two", Critique(False, "line one\nline two")),
        ("ACCEPT: no", None),
        ("ACCEPT: no\nFEEDBACK:   ", None),
        ("SCORE: 11\nACCEPT: yes", None),
        ("SCORE: seven\nACCEPT: yes", None),
        ("SCORE: 7", None),
        ("Sure! SCORE: 7\nACCEPT: yes", None),
        ("ACCEPT: maybe", None),
        ("ACCEPT: yes\nand more", None),
        ("ACCEPT: no\nFEEDBACK: x\nACCEPT: yes", None),
        ("SCORE: 7\nSCORE: 9\nACCEPT: yes", None),
        ("", None),
    ],
)
def test_a_critique_follows_the_form_or_is_none(reply, critique):
    assert parse_critique(reply) == critique


@given(st.text(max_size=300))
def test_any_reply_is_read_or_refused(reply):
    found = parse_critique(reply)
    assert found is None or found.accept or found.feedback


def test_a_long_hostile_reply_is_refused_at_once():
    assert parse_critique("SCORE: 1\nACCEPT: no\nFEEDBACK:" + "\n" * 200_000) is None
    assert parse_critique(" " * 200_000 + "x") is None


def test_the_majority_wins_and_the_first_of_equals():
    vote = majority_vote(["It is 3.", "so 1,000.0", "1000", "no idea"], "number")
    assert (vote.winner, vote.answer, vote.votes, vote.unreadable) == (1, "1000", {"1000": 2, "3": 1}, 1)
    assert vote.share == 0.5
    assert majority_vote(["5", "4"], "number").winner == 0
    nothing = majority_vote(["none", ""], "number")
    assert (nothing.winner, nothing.answer, nothing.share, nothing.unreadable) == (None, None, 0.0, 2)


@pytest.mark.parametrize(
    ("sample", "rule", "answer"),
    [
        ("a 3 and then -4.50", "number", "-4.5"),
        ("100", "number", "100"),
        ("none", "number", None),
        ("first\n\n The  Answer. \n", "last-line", "the answer"),
        ("\n", "last-line", None),
        ("I say YES", "label", "yes"),
        ("yes or no", "label", None),
        ("yesterday", "label", None),
    ],
)
def test_the_answer_of_a_sample_is_read_by_rule(sample, rule, answer):
    assert extract_answer(sample, rule, ("yes", "no")) == answer
