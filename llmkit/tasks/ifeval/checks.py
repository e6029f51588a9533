"""Whether a response follows a verifiable instruction, by the kinds of IFEval (Zhou et al. 2023, arXiv 2311.07911).

The paper describes each kind in a sentence; where it leaves something open, the docstring of the check says what we
take. That moves single verdicts against other implementations: keywords are whole words here, and a JSON response is an
object or an array.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from llmkit.errors import DataError, unknown
from llmkit.tasks.ifeval import layout, wording
from llmkit.text.language import LANGUAGES

_RELATIONS = ("at least", "less than")


class _Kind(NamedTuple):
    check: Callable[..., bool]
    arguments: Mapping[str, Callable[[str, object], object]]
    """What each argument is read with; in the order in which `check` takes them, after the response."""


def follows(kind: str, arguments: Mapping[str, object], response: str) -> bool:
    """Whether `response` follows one instruction.

    Args:
        kind: name of the instruction, as in ``length_constraints:number_words``; see :func:`known`.
        arguments: what it asks for, under IFEval's names, as in ``{"relation": "at least", "num_words": 300}``.
        response: the text to judge; one without any character but white space follows nothing.

    Raises:
        DataError: for a kind that is not known, an argument that is missing, not known or of the wrong type, and a
            language that cannot be told.
    """
    if kind not in _KINDS:
        raise DataError(unknown("instruction", kind, known()))
    check, readers = _KINDS[kind]
    for name in arguments:
        if name not in readers:
            raise DataError(f"{kind}: {unknown('argument', name, readers)}")
    values: list[Any] = []
    for name, read in readers.items():
        if name not in arguments:
            raise DataError(f"{kind}: the argument {name!r} is missing (needed: {', '.join(readers)})")
        values.append(read(f"{kind}: {name}", arguments[name]))
    if kind == "length_constraints:nth_paragraph_first_word" and values[1] > values[0]:
        raise DataError(f"{kind}: nth_paragraph is {values[1]}, but num_paragraphs only {values[0]}")
    text = unicodedata.normalize("NFC", response).replace("\r\n", "\n").replace("\r", "\n").strip()
    return bool(text) and check(text, *values)


def known() -> list[str]:
    """The names of the kinds, sorted."""
    return sorted(_KINDS)


def loosened(response: str) -> list[str]:
    """The variants of a response of which one must follow for the paper's loose metric.

    The response itself, without its first line, without its last, without both; and each of the four without the
    asterisks of Markdown. In this order, each once, at most eight; the response itself always comes first, so what
    follows strictly follows loosely too.
    """
    lines = response.splitlines()
    cut = [response, *("\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1]))]
    return list(dict.fromkeys([*cut, *(variant.replace("*", "") for variant in cut)]))


def _count(where: str, value: object) -> int:
    """A whole number from 0; JSON written by other tools says 3.0 for 3."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise DataError(f"{where} must be a whole number from 0, not {value!r}")
    return value


def _ordinal(where: str, value: object) -> int:
    number = _count(where, value)
    if number < 1:
        raise DataError(f"{where} must be a whole number from 1, not {value!r}")
    return number


def _text(where: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{where} must be a text that is not empty, not {value!r}")
    return unicodedata.normalize("NFC", value.strip())


def _texts(where: str, value: object) -> list[str]:
    if not isinstance(value, Sequence) or isinstance(value, (str, bytes)) or not value:
        raise DataError(f"{where} must be a list of texts that is not empty, not {value!r}")
    return [_text(where, one) for one in value]


def _character(where: str, value: object) -> str:
    character = _text(where, value)
    if len(character) != 1:
        raise DataError(f"{where} must be a single character, not {value!r}")
    return character


def _relation(where: str, value: object) -> str:
    if value not in _RELATIONS:
        raise DataError(f"{where}: {unknown('relation', str(value), _RELATIONS)}")
    return str(value)


def _language(where: str, value: object) -> str:
    if value not in LANGUAGES:
        raise DataError(f"{where}: {unknown('language', str(value), LANGUAGES)}")
    return str(value)


_KINDS: dict[str, _Kind] = {
    "change_case:capital_word_frequency": _Kind(
        wording.capital_words, {"capital_frequency": _count, "capital_relation": _relation}
    ),
    "change_case:english_capital": _Kind(wording.english_capital, {}),
    "change_case:english_lowercase": _Kind(wording.english_lowercase, {}),
    "combination:repeat_prompt": _Kind(layout.repeats, {"prompt_to_repeat": _text}),
    "combination:two_responses": _Kind(layout.two_responses, {}),
    "detectable_content:number_placeholders": _Kind(layout.placeholders, {"num_placeholders": _count}),
    "detectable_content:postscript": _Kind(layout.postscript, {"postscript_marker": _text}),
    "detectable_format:constrained_response": _Kind(layout.constrained, {}),
    "detectable_format:json_format": _Kind(layout.is_json, {}),
    "detectable_format:multiple_sections": _Kind(layout.sections, {"section_spliter": _text, "num_sections": _count}),
    "detectable_format:number_bullet_lists": _Kind(layout.bullets, {"num_bullets": _count}),
    "detectable_format:number_highlighted_sections": _Kind(layout.highlights, {"num_highlights": _count}),
    "detectable_format:title": _Kind(layout.title, {}),
    "keywords:existence": _Kind(wording.has_all, {"keywords": _texts}),
    "keywords:forbidden_words": _Kind(wording.has_none, {"forbidden_words": _texts}),
    "keywords:frequency": _Kind(
        wording.keyword_frequency, {"keyword": _text, "frequency": _count, "relation": _relation}
    ),
    "keywords:letter_frequency": _Kind(
        wording.letter_frequency, {"letter": _character, "let_frequency": _count, "let_relation": _relation}
    ),
    "language:response_language": _Kind(wording.in_language, {"language": _language}),
    "length_constraints:nth_paragraph_first_word": _Kind(
        wording.nth_paragraph, {"num_paragraphs": _ordinal, "nth_paragraph": _ordinal, "first_word": _text}
    ),
    "length_constraints:number_paragraphs": _Kind(layout.paragraphs, {"num_paragraphs": _ordinal}),
    "length_constraints:number_sentences": _Kind(
        wording.number_of_sentences, {"num_sentences": _count, "relation": _relation}
    ),
    "length_constraints:number_words": _Kind(wording.number_of_words, {"num_words": _count, "relation": _relation}),
    "punctuation:no_comma": _Kind(wording.no_comma, {}),
    "startend:end_checker": _Kind(layout.ends_with, {"end_phrase": _text}),
    "startend:quotation": _Kind(layout.quoted, {}),
}
