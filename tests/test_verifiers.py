"""Verifiers and the rules behind them: what passes, what is said of what does not, and hostile drafts."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit import arithmetic, config, registry
from llmkit.errors import ConfigError, DataError, SandboxError
from llmkit.sandbox import isolation
from llmkit.tasks import acronyms, sentiment
from llmkit.tasks.ifeval import checks, phrasing
from llmkit.testing.verifier_suite import VerifierSuite
from llmkit.types import Chunk, Hit, State, Verdict

_TEXT = "The pump is serviced in May by Ann."
STATE = State(
    "Double it.\nassert double(2) == 4",
    inputs={
        "concepts": ["dog", "park", "run"],
        "checks": [
            {"name": "punctuation:no_comma", "arguments": {}},
            {"name": "length_constraints:number_words", "arguments": {"relation": "at least", "num_words": 3}},
        ],
        "title": "National Aeronautics and Space Administration",
        "text": "The soup was bland and the bread was stale.",
        "wanted": "positive",
    },
    hits=(Hit(Chunk("manual", 0, 0, len(_TEXT), _TEXT, 9), 0.9),),
)
FIELDS = {"json-schema": {"json_schema": {"type": "object", "required": ["name"]}}}
GOOD = {
    "concepts": "Dogs were running in the parks.",
    "instructions": "One two three four",
    "citations": "The pump is serviced in May by Ann [1].",
    "unit-tests": "```python\ndef double(x):\n    return 2 * x\n```",
    "json-schema": '```json\n{"name": "x"}\n```',
    "calculator": "48 / 2 = 24. Then 24 + 3 = 27, so it is 27.",
    "acronym": "N.A.S.A.",
    "sentiment": "The soup was delicious and the bread was fresh.",
}
BAD = {
    "concepts": ("A dog.", "Use these words too: park, run."),
    "instructions": ("a, b", "Do not use any commas."),
    "citations": ("The moon is made of cheese [1].", "Not supported: 'The moon is made of cheese [1].'"),
    "unit-tests": ("def double(x): return x", "assert double(2) == 4 failed: AssertionError; the left side is 2"),
    "json-schema": ('{"nme": 1}', "At $: 'name' is a required property"),
    "calculator": ("48 / 2 = 23.", "48 / 2 = 23 is wrong: it is 24."),
    "acronym": ("XQZWV", "Its letters must stand in the title in this order"),
    "sentiment": ("The soup was awful.", "The text must sound positive"),
}
WORDS = sorted(registry.BUILTIN["verifier"])


def make(word, **fields):
    if word == "unit-tests":
        try:
            isolation.isolation()
        except SandboxError as error:
            pytest.skip(str(error))
    return config.build_part("verifier", {"type": word, **FIELDS.get(word, {}), **fields})


@pytest.mark.parametrize("word", WORDS)
def test_a_good_draft_passes_and_a_bad_one_is_told_why(word):
    verifier = make(word)
    assert verifier.verify(GOOD[word], STATE) == Verdict(1.0)
    draft, said = BAD[word]
    found = verifier.verify(draft, STATE)
    assert found.score < 1
    assert any(message.startswith(said) for message in found.messages), found.messages


@pytest.mark.parametrize("word", WORDS)
class TestVerifiers(VerifierSuite):
    @pytest.fixture
    def verifier(self, word):
        return make(word)

    @pytest.fixture
    def state(self):
        return STATE

    @pytest.fixture
    def draft(self, word):
        return GOOD[word]


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize(
    "draft",
    ["", " \n", "\x00", "\ud800", "😀 \u202e [99]", "(" * 5_000, "1 + " * 5_000, "[" * 5_000, "9" * 5_000, "= " * 5_000,
     "$" * 5_000, "1 " * 5_000, "```" * 2_000, '{"a":' * 5_000, "=" * 5_000, "1=1" * 2_000, "assert " * 1_000],
    ids=lambda draft: repr(draft[:6]),
)  # fmt: skip
def test_a_hostile_draft_has_a_verdict(word, draft):
    found = make(word).verify(draft, STATE)
    assert 0 <= found.score <= 1
    assert found.score == 1 or found.messages
    assert len("".join(found.messages)) < 20_000


@pytest.mark.parametrize("word", ["concepts", "instructions", "acronym", "sentiment"])
def test_an_input_that_did_not_come_is_named_with_what_to_do(word):
    with pytest.raises(DataError, match=r"came without the input '\w+' \(it has none\): name the column in the task's"):
        make(word).verify("x", State("q"))


def test_tests_may_stand_in_the_question_or_are_missed():
    assert make("unit-tests").verify("def double(x): return 2 * x", STATE).score == 1
    with pytest.raises(DataError, match="no line of the question begins with 'assert'"):
        make("unit-tests").verify("x", State("Write something."))
    hidden = make("unit-tests", first=1)
    state = State("q", inputs={"tests": ["assert f() == 1", "assert f() == 2"]})
    assert hidden.verify("def f(): return 1", state).score == 1


def test_few_missing_words_are_named_at_a_time():
    assert make("concepts", show=1).verify("nothing", STATE).messages == ("Use these words too: dog.",)


def test_instructions_may_stand_in_the_pipeline():
    verifier = make("instructions", checks=[{"name": "startend:quotation", "arguments": {}}])
    assert verifier.verify('"yes"', State("q")).score == 1
    assert "quotation marks" in verifier.verify("no", State("q")).messages[0]


def test_every_kind_of_instruction_can_be_said(data):
    said = set()
    for line in (data / "tasks" / "ifeval-en" / "items.jsonl").read_text().splitlines():
        for check in json.loads(line)["checks"]:
            text = phrasing.request(check["name"], check["arguments"])
            assert "{" not in text.replace(str(check["arguments"].get("prompt_to_repeat")), "")
            said.add(check["name"])
    assert said <= set(checks.known())
    assert set(phrasing._REQUESTS) == set(checks.known())


def test_a_schema_that_is_none_is_refused_and_none_is_fetched():
    with pytest.raises(ConfigError, match="not a JSON schema"):
        make("json-schema", json_schema={"type": "objekt"})
    with pytest.raises(ConfigError, match=r"must stay in the schema, not 'http://example\.com"):
        make("json-schema", json_schema={"$ref": "http://example.com/schema.json"})


def test_json_that_is_none_says_why():
    found = make("json-schema").verify("{nope}", STATE)
    assert found.score == 0
    assert found.messages[0].startswith("This is not JSON:")
    assert make("json-schema").verify('{"name": NaN}', STATE).score == 0


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("48/2 = 24, and 24 + 3 = 28.", [("48/2 = 24", True), ("24 + 3 = 28", False)]),
        ("0.2 x 50 = $10", [("0.2 x 50 = $10", True)]),
        ("$1,200 / 4 = $300", [("$1,200 / 4 = $300", True)]),
        ("5 × 3 = 16", [("5 × 3 = 16", False)]),
        ("10 / 3 = 3.33", [("10 / 3 = 3.33", True)]),
        ("10 / 3 = 3", [("10 / 3 = 3", False)]),
        ("20% * 50 = 10", [("20% * 50 = 10", True)]),
        ("(2 + 3) * 4 = 20", [("(2 + 3) * 4 = 20", True)]),
        ("<<48+24=72>>72", [("48+24 = 72", True)]),
        ("5 - 8 = -3", [("5 - 8 = -3", True)]),
        ("x + 2 = 7", []),
        ("1 / 0 = 5", []),
        ("3 + 4 = 7 + 1", []),
    ],
)
def test_arithmetic_statements_are_found_and_recomputed(text, found):
    assert [(one.text, one.right) for one in arithmetic.statements(text)] == found


@pytest.mark.parametrize(
    "expression",
    ["__import__('os')", "9**9**9", "1/0", "(" * 300, "a + 1", "[1]", "1 if 1 else 2", "True", "'a' * 9", "1e400",
     "f'{1}'", "lambda: 1", "2**99**9", "10**30 * 10**30", "", "1 +"],
)  # fmt: skip
def test_what_is_no_arithmetic_is_refused(expression):
    with pytest.raises(DataError):
        arithmetic.value(expression)


@given(st.integers(-999, 999), st.integers(-999, 999), st.sampled_from("+-*"))
def test_the_calculator_calculates(a, b, sign):
    expected = {"+": a + b, "-": a - b, "*": a * b}[sign]
    assert arithmetic.value(f"({a}) {sign} ({b})") == expected
    if a >= 0 and b >= 0:
        (found,) = arithmetic.statements(f"so {a} {sign} {b} = {expected} in all")
        assert found.right


def test_acronyms_are_checked_by_form():
    title = "Association for the Advancement of Artificial Intelligence"
    found = acronyms.check_acronym("Acronym: AAAI", title)
    assert (found.acronym, found.short, found.taken, found.covers) == ("AAAI", True, True, 1.0)
    assert acronyms.check_acronym("A.A.A.I.", title).acronym == "AAAI"
    assert acronyms.check_acronym("The acronym is AAAI", title).score == 0
    assert not acronyms.check_acronym("XYZ", title).taken
    assert not acronyms.check_acronym("BCDFG", "Big Cats Don't Fear Geese").speakable


def test_a_negation_turns_a_word_round():
    assert sentiment.polarity("It was good.") == 1
    assert sentiment.polarity("It was not good.") == -1
    assert sentiment.polarity("The staff was never rude and the room was clean.") == 2
    assert not sentiment.POSITIVE & sentiment.NEGATIVE


def test_our_own_reviews_are_of_the_other_side_before_they_are_turned():
    from llmkit.evaluation.tasks.task import load_task

    samples = list(load_task("sentiment-reversal").dataset.samples())
    assert len(samples) == 40
    for sample in samples:
        sign = 1 if sample.fields["wanted"] == "negative" else -1
        assert sign * sentiment.polarity(sample.fields["text"]) > 0, sample.fields["text"]
