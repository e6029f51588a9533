"""Instructions that a program can check: what follows each kind and what does not."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.errors import DataError
from llmkit.tasks.ifeval.checks import follows, known, loosened

PROMPT = "Write a haiku about moms. Keep it short."
YES = [
    ("change_case:capital_word_frequency", {"capital_frequency": 2, "capital_relation": "at least"}, "A BIG and RED dog"),
    ("change_case:capital_word_frequency", {"capital_frequency": 1, "capital_relation": "less than"}, "I am. A dog."),
    ("change_case:capital_word_frequency", {"capital_frequency": 2, "capital_relation": "less than"}, "a GPT4 model"),
    ("change_case:english_capital", {}, "THE DOG IS IN THE 2ND HOUSE."),
    ("change_case:english_capital", {}, "HURRAY!"),
    ("change_case:english_lowercase", {}, "the dog isn't in the house, e.g. outside."),
    ("combination:repeat_prompt", {"prompt_to_repeat": PROMPT}, f"{PROMPT}\n\nMother's warm kitchen"),
    ("combination:repeat_prompt", {"prompt_to_repeat": PROMPT}, "write a haiku about moms.\nKeep it short. Warm kitchen"),
    ("combination:two_responses", {}, "One.\n******\nTwo."),
    ("combination:two_responses", {}, "One. ****** Two.\n\n******"),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, "Dear [name], from [your address]"),
    ("detectable_content:number_placeholders", {"num_placeholders": 1}, "[नाम] के लिए"),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "Love\n\nP.S. Write soon."),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "i love you. p. s. write soon."),
    ("detectable_content:postscript", {"postscript_marker": "P.P.S"}, "Love\n**P.P.S.** Write soon."),
    ("detectable_format:constrained_response", {}, "Sure. My answer is maybe."),
    ("detectable_format:json_format", {}, '{"a": [1, 2.5, null]}'),
    ("detectable_format:json_format", {}, '```json\n[{"a": "ü"}]\n```'),
    ("detectable_format:json_format", {}, '```\n{"code": "```x```"}\n```'),
    ("detectable_format:json_format", {}, '{"n": ' + "9" * 5000 + "}"),
    ("detectable_format:multiple_sections", {"section_spliter": "SECTION", "num_sections": 2}, "SECTION 1\na\n**SECTION 2**\nb"),
    ("detectable_format:multiple_sections", {"section_spliter": "Section", "num_sections": 2}, "## Section I: a\nb\n## Section II: c"),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "Points:\n* one\n  - two *really*\n* * *\nend"),
    ("detectable_format:number_bullet_lists", {"num_bullets": 1}, '"* one\n**bold** is none"'),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 3}, "*a b* then **c** and ***d***"),
    ("detectable_format:title", {}, "<<Poem of joy>>\nJoy!"),
    ("keywords:existence", {"keywords": ["mom", "New York"]}, "My **Mom's** in\nNew  York."),
    ("keywords:existence", {"keywords": ["猫"]}, "私は猫が好きです"),
    ("keywords:existence", {"keywords": ["cafe\u0301"]}, "a café"),
    ("keywords:existence", {"keywords": ["café"]}, "a cafe\u0301"),
    ("keywords:existence", {"keywords": ["C++"]}, "I write C++."),
    ("keywords:forbidden_words", {"forbidden_words": ["can", "ride"]}, "A candle on a bride"),
    ("keywords:forbidden_words", {"forbidden_words": ["कि"]}, "किसी ने कहा"),
    ("keywords:frequency", {"keyword": "war", "frequency": 2, "relation": "at least"}, "War, a war-horse"),
    ("keywords:frequency", {"keyword": "war", "frequency": 2, "relation": "less than"}, "war and reward towards warm"),
    ("keywords:letter_frequency", {"letter": "#", "let_frequency": 2, "let_relation": "at least"}, "#a #b"),
    ("keywords:letter_frequency", {"letter": "t", "let_frequency": 2, "let_relation": "less than"}, "The dog"),
    ("language:response_language", {"language": "sw"}, "Kwa nini kuku alivuka barabara? Ili afike upande wa pili!"),
    ("language:response_language", {"language": "kn"}, "ಇದು ಒಂದು ಸ್ಯಾಂಡ್‌ವಿಚ್ (sandwich) ಅಲ್ಲ, ಆದರೆ ರುಚಿಕರವಾಗಿದೆ."),
    ("length_constraints:nth_paragraph_first_word", {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "summary"}, "One.\r\nStill one.\r\n\r\n**Summary:** two"),
    ("length_constraints:nth_paragraph_first_word", {"num_paragraphs": 1, "nth_paragraph": 1, "first_word": "weekend"}, '"Weekend plans\nare made"'),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "One ***very*** long.\n\n***\n\nTwo.\n***"),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "One. *** Two."),
    ("length_constraints:number_sentences", {"num_sentences": 3, "relation": "at least"}, "Dr. Who came. He saw! Did he win?"),
    ("length_constraints:number_sentences", {"num_sentences": 3, "relation": "less than"}, "Mr. J. Smith paid 3.50 dollars. Yes."),
    ("length_constraints:number_sentences", {"num_sentences": 3, "relation": "at least"}, "he came. he saw. he won."),
    ("length_constraints:number_sentences", {"num_sentences": 2, "relation": "at least"}, "वह आया। वह गया।"),
    ("length_constraints:number_words", {"num_words": 5, "relation": "at least"}, "I don't know GPT4, really."),
    ("length_constraints:number_words", {"num_words": 4, "relation": "less than"}, "हिन्दी में किताब"),
    ("punctuation:no_comma", {}, "One; two. Three"),
    ("startend:end_checker", {"end_phrase": "Any other help?"}, 'Here.\n\n"**Any other  help?**"'),
    ("startend:end_checker", {"end_phrase": "your love, and thanks."}, "For YOUR love, and thanks."),
    ("startend:quotation", {}, '"All of it."'),
    ("startend:quotation", {}, " “All of it.”\n"),
]  # fmt: skip
NO = [
    ("change_case:capital_word_frequency", {"capital_frequency": 2, "capital_relation": "at least"}, "I have A dog, OK?"),
    ("change_case:capital_word_frequency", {"capital_frequency": 1, "capital_relation": "less than"}, "NO"),
    ("change_case:english_capital", {}, "THE DOG IS a DOG"),
    ("change_case:english_capital", {}, "DER HUND IST NICHT IM HAUS"),
    ("change_case:english_capital", {}, "123"),
    ("change_case:english_lowercase", {}, "the Dog is here"),
    ("change_case:english_lowercase", {}, "собака не в доме"),
    ("combination:repeat_prompt", {"prompt_to_repeat": PROMPT}, f"Sure! {PROMPT} Warm kitchen"),
    ("combination:repeat_prompt", {"prompt_to_repeat": PROMPT}, PROMPT),
    ("combination:two_responses", {}, "One.\n******\nOne."),
    ("combination:two_responses", {}, "One.\n*****\nTwo."),
    ("combination:two_responses", {}, "One.\n*******\nTwo."),
    ("combination:two_responses", {}, "One.\n******\nTwo.\n******\nThree."),
    ("combination:two_responses", {}, "One.\n******\n******\nTwo."),
    ("detectable_content:number_placeholders", {"num_placeholders": 1}, "as said [1], see [here](https://a.b) or [ ]"),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "Love\n\nP.P.S. Write soon."),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "Love\n\nP. P.S. Write soon."),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "Love\n\nP.S."),
    ("detectable_content:postscript", {"postscript_marker": "P.P.S"}, "Love\n\nP.S. Write soon."),
    ("detectable_format:constrained_response", {}, "My answer is yes. My answer is no."),
    ("detectable_format:constrained_response", {}, "Yes."),
    ("detectable_format:json_format", {}, 'Here: {"a": 1}'),
    ("detectable_format:json_format", {}, '```json\n{"a": 1}\n```\nDone.'),
    ("detectable_format:json_format", {}, '{"a": NaN}'),
    ("detectable_format:json_format", {}, '"only a string"'),
    ("detectable_format:json_format", {}, "[" * 100_000),
    ("detectable_format:multiple_sections", {"section_spliter": "SECTION", "num_sections": 2}, "SECTION 1\nSee SECTION 2.\nSection 2"),
    ("detectable_format:multiple_sections", {"section_spliter": "SECTION", "num_sections": 2}, "SECTION 1\na\nSECTION 1\nb"),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "* one\n* two\n* three"),
    ("detectable_format:number_bullet_lists", {"num_bullets": 1}, "*one* and **two**\n---\n*"),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 1}, "* a\n* b\n2 * 3 * 4\n***\n* *"),
    ("detectable_format:title", {}, "<<>> <Poem> << >>"),
    ("keywords:existence", {"keywords": ["mom", "mother"]}, "My mother for a moment"),
    ("keywords:existence", {"keywords": ["cafe"]}, "a café"),
    ("keywords:forbidden_words", {"forbidden_words": ["night", "dead"]}, "Tonight. _Night_!"),
    ("keywords:frequency", {"keyword": "war", "frequency": 2, "relation": "at least"}, "war towards"),
    ("keywords:frequency", {"keyword": "war", "frequency": 2, "relation": "less than"}, "war war"),
    ("keywords:letter_frequency", {"letter": "E", "let_frequency": 2, "let_relation": "at least"}, "e\u0301te\u0301 he"),
    ("language:response_language", {"language": "sw"}, "Why did the chicken cross the road?"),
    ("language:response_language", {"language": "mr"}, "यह एक अच्छी किताब है और मैं इसे पढ़ रहा हूँ"),
    ("language:response_language", {"language": "sw"}, "42"),
    ("length_constraints:nth_paragraph_first_word", {"num_paragraphs": 2, "nth_paragraph": 1, "first_word": "elm"}, "Elm's tree\n\nTwo"),
    ("length_constraints:nth_paragraph_first_word", {"num_paragraphs": 2, "nth_paragraph": 1, "first_word": "elm"}, "Elm\n\nTwo\n \nThree"),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "One.\n\nTwo."),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "One.\n***\n***\nTwo."),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "One.\n****\nTwo."),
    ("length_constraints:number_sentences", {"num_sentences": 2, "relation": "at least"}, "See e.g. Mr. Smith.\n\n---"),
    ("length_constraints:number_words", {"num_words": 5, "relation": "at least"}, "one - two ... three ** four"),
    ("punctuation:no_comma", {}, "1,000"),
    ("punctuation:no_comma", {}, "猫、犬"),
    ("startend:end_checker", {"end_phrase": "Peace!"}, "Peace! Bye."),
    ("startend:end_checker", {"end_phrase": "you agree"}, "Do thank-you agree? youyou agrees"),
    ("startend:end_checker", {"end_phrase": "art"}, "We start"),
    ("startend:quotation", {}, '"One" and two'),
    ("startend:quotation", {}, '"'),
    ("startend:quotation", {}, '""'),
    ("startend:quotation", {}, "'One'"),
]  # fmt: skip
SAMPLE = """First, a line about my mom, the cat and a river.

* A *highlighted* point with [name]

P.S. Is there anything else I can help with?"""


@pytest.mark.parametrize(("kind", "arguments", "response"), YES)
def test_follows(kind, arguments, response):
    assert follows(kind, arguments, response)


@pytest.mark.parametrize(("kind", "arguments", "response"), NO)
def test_does_not_follow(kind, arguments, response):
    assert not follows(kind, arguments, response)


def test_every_kind_is_shown_to_follow_and_not_to():
    assert known() == sorted({kind for kind, _, _ in YES}) == sorted({kind for kind, _, _ in NO})
    assert len(known()) == 25


@pytest.mark.parametrize("response", ["", "  \n\t", "\u3000"])
def test_an_empty_response_follows_nothing(response):
    for kind, arguments, _ in [*YES, *NO]:
        assert not follows(kind, arguments, response)


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        ("keywords:existance", {"keywords": ["a"]}, "did you mean 'keywords:existence'"),
        ("keywords:existence", {}, "'keywords' is missing"),
        ("keywords:existence", {"keyword": ["a"]}, "did you mean 'keywords'"),
        ("keywords:existence", {"keywords": "cat"}, "list of texts"),
        ("keywords:existence", {"keywords": []}, "list of texts"),
        ("keywords:existence", {"keywords": ["a", 3]}, "a text that is not empty, not 3"),
        ("keywords:frequency", {"keyword": " ", "frequency": 1, "relation": "at least"}, "keyword must be a text"),
        ("keywords:frequency", {"keyword": "a", "frequency": "1", "relation": "at least"}, "whole number from 0"),
        ("keywords:frequency", {"keyword": "a", "frequency": True, "relation": "at least"}, "whole number from 0"),
        ("keywords:frequency", {"keyword": "a", "frequency": -1, "relation": "at least"}, "whole number from 0"),
        ("keywords:frequency", {"keyword": "a", "frequency": 1, "relation": "at lest"}, "did you mean 'at least'"),
        ("keywords:letter_frequency", {"letter": "ab", "let_frequency": 1, "let_relation": "at least"}, "single"),
        ("language:response_language", {"language": "tlh"}, "unknown language 'tlh'"),
        ("language:response_language", {"language": ["sw"]}, "unknown language"),
        ("length_constraints:number_paragraphs", {"num_paragraphs": 0}, "from 1"),
        ("length_constraints:number_paragraphs", {"num_paragraphs": float("nan")}, "whole number"),
        (
            "length_constraints:nth_paragraph_first_word",
            {"num_paragraphs": 2, "nth_paragraph": 3, "first_word": "a"},
            "nth_paragraph is 3",
        ),
        ("punctuation:no_comma", {"relation": "at least"}, "unknown argument 'relation'"),
    ],
)
@pytest.mark.parametrize("response", ["", "Some text."])
def test_what_cannot_be_checked_is_an_error_and_not_a_verdict(kind, arguments, message, response):
    with pytest.raises(DataError) as caught:
        follows(kind, arguments, response)
    assert message in str(caught.value)


def test_numbers_written_as_floats_are_numbers():
    assert follows("length_constraints:number_words", {"num_words": 3.0, "relation": "at least"}, "one two three")


def test_loosened_gives_the_eight_variants():
    assert loosened("Sure:\n*a*\nb\nBye") == [
        "Sure:\n*a*\nb\nBye", "*a*\nb\nBye", "Sure:\n*a*\nb", "*a*\nb",
        "Sure:\na\nb\nBye", "a\nb\nBye", "Sure:\na\nb", "a\nb",
    ]  # fmt: skip
    assert loosened("") == [""]


def test_a_preamble_is_forgiven_loosely():
    response = 'Sure, here it is:\n**{"a": 1}**\nAnything else?'
    assert not follows("detectable_format:json_format", {}, response)
    assert any(follows("detectable_format:json_format", {}, variant) for variant in loosened(response))


@given(st.text(alphabet="ab*\n ,", max_size=40))
def test_the_loose_verdict_includes_the_strict_one(response):
    variants = loosened(response)
    assert variants[0] == response
    assert len(variants) == len(set(variants)) <= 8
    assert response.replace("*", "") in variants


KEYWORDS = st.sampled_from(["war", "a", "new york", "#", "é", "猫", "कि", "don't"])
TEXTS = st.lists(
    st.sampled_from(
        ["war", "War", "toward", "New\nYork", "#a", "é", "e\u0301", "猫猫", "किस", "कि", "don’t", "-", "."]
    ),
    min_size=1,
).map(" ".join)


@given(TEXTS, KEYWORDS)
def test_a_keyword_is_there_or_it_is_not(text, keyword):
    there = follows("keywords:existence", {"keywords": [keyword]}, text)
    once = {"keyword": keyword, "frequency": 1}
    assert there != follows("keywords:forbidden_words", {"forbidden_words": [keyword]}, text)
    assert there == follows("keywords:frequency", {**once, "relation": "at least"}, text)
    assert there != follows("keywords:frequency", {**once, "relation": "less than"}, text)


COUNTED = [
    ("keywords:frequency", "frequency", "relation", {"keyword": "a"}),
    ("keywords:letter_frequency", "let_frequency", "let_relation", {"letter": "a"}),
    ("length_constraints:number_words", "num_words", "relation", {}),
    ("length_constraints:number_sentences", "num_sentences", "relation", {}),
    ("change_case:capital_word_frequency", "capital_frequency", "capital_relation", {}),
]


@given(st.text(alphabet="aAbB .!\n*", min_size=1).filter(str.strip), st.integers(0, 12), st.sampled_from(COUNTED))
def test_at_least_and_less_than_are_opposites_and_falling(text, number, counted):
    kind, count, relation, more = counted

    def verdict(number, word):
        return follows(kind, {**more, count: number, relation: word}, text)

    assert verdict(number, "at least") != verdict(number, "less than")
    assert verdict(number, "at least") or not verdict(number + 1, "at least")
    assert verdict(0, "at least")


@given(st.integers(1, 6), st.integers(1, 6), st.sampled_from(["\n***\n", "\n\n***\n\n", " *** "]))
def test_paragraphs_are_counted_exactly(made, wanted, divider):
    text = divider.join(f"Paragraph {i}." for i in range(made))
    assert follows("length_constraints:number_paragraphs", {"num_paragraphs": wanted}, text) == (made == wanted)
    bullets = "\n".join(f"* item {i}" for i in range(made))
    assert follows("detectable_format:number_bullet_lists", {"num_bullets": wanted}, bullets) == (made == wanted)


@given(st.recursive(st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
                    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8))  # fmt: skip
def test_what_json_writes_is_json(value):
    for text in (json.dumps(value), f"```json\n{json.dumps(value, indent=1)}\n```"):
        assert follows("detectable_format:json_format", {}, text) == isinstance(value, dict | list)


@given(st.text(max_size=60))
def test_no_text_is_an_error(text):
    for kind, arguments, _ in YES:
        assert isinstance(follows(kind, arguments, text), bool)


@pytest.mark.parametrize("text", ["[a" * 20_000, "*a " * 20_000, "<<" * 20_000, "P." * 20_000, " \n" * 20_000 + "a"])
@pytest.mark.timeout(20)
def test_hostile_text_costs_no_more_than_its_length(text):
    for kind, arguments, _ in YES:
        follows(kind, arguments, text)


def test_every_instruction_of_ifeval_can_be_checked(data):
    with (data / "tasks" / "ifeval-en" / "items.jsonl").open(encoding="utf-8") as lines:
        checks = [check for line in lines for check in json.loads(line)["checks"]]
    verdicts = {True: set(), False: set()}
    for check in checks:
        verdicts[follows(check["name"], check["arguments"], SAMPLE)].add(check["name"])
        assert not follows(check["name"], check["arguments"], "")
    assert sorted(verdicts[True] | verdicts[False]) == known()
    assert len(checks) == 416
    assert "keywords:existence" in verdicts[True] & verdicts[False]
