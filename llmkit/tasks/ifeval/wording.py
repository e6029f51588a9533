r"""Checks of what a response says: its words, letters, case, sentences and language.

Each takes the response (NFC, not empty, trimmed, ``\n`` between lines) and what the instruction asks for.
"""

from __future__ import annotations

import re
import unicodedata

from llmkit.text.language import language, script
from llmkit.text.sentences import sentences
from llmkit.text.words import words

_BLANK_LINES = re.compile(r"\n[ \t]*\n\s*")
_COMMAS = frozenset(",，،、﹐､")
_JOINERS = frozenset("\u00ad\u200c\u200d")
_STOPS = str.maketrans({"।": ".", "॥": ".", "۔": ".", "؟": "?"})
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")


def has_all(response: str, keywords: list[str]) -> bool:
    """Every keyword stands in the response; as :func:`keyword_frequency` counts it."""
    return all(_occurrences(response, keyword) for keyword in keywords)


def has_none(response: str, forbidden: list[str]) -> bool:
    """None of the words stands in the response; as :func:`keyword_frequency` counts it."""
    return not any(_occurrences(response, word) for word in forbidden)


def keyword_frequency(response: str, keyword: str, frequency: int, relation: str) -> bool:
    """How often a word or phrase stands in the response, in any case, as whole words.

    "moment" does not hold "mom", nor "sneakers" "sneaker"; "mom's" and "mother-in-law" hold "mom" and "mother". In
    scripts that put no spaces between words it may stand anywhere.
    """
    return _compare(_occurrences(response, keyword), relation, frequency)


def letter_frequency(response: str, letter: str, frequency: int, relation: str) -> bool:
    """How often a character stands in the response, in any case; with an accent it is another one."""
    return _compare(response.lower().count(letter.lower()), relation, frequency)


def in_language(response: str, code: str) -> bool:
    """Most of the response is in the language; one whose language cannot be told is not.

    Names and single foreign words do no harm, and a foreign sentence in a longer response is not noticed either.
    """
    return language(response) == code


def english_capital(response: str) -> bool:
    """There are capital letters and no small ones, and the words are not those of another language."""
    return response.isupper() and _perhaps_english(response)


def english_lowercase(response: str) -> bool:
    """There are small letters and no capital ones, and the words are not those of another language."""
    return response.islower() and _perhaps_english(response)


def capital_words(response: str, frequency: int, relation: str) -> bool:
    """How many words are all in capital letters; "I" and "A" alone say nothing, so a word has two letters or more."""
    found = sum(word.isupper() and sum(map(str.isalpha, word)) > 1 for word in _spoken(response))
    return _compare(found, relation, frequency)


def number_of_words(response: str, number: int, relation: str) -> bool:
    """How many words; "don't" is one, "well-known" are two, each Chinese, Japanese or Korean character is one.

    A run of Thai, Lao, Khmer or Burmese without a space counts as one word: too few.
    """
    return _compare(len(_spoken(response)), relation, number)


def number_of_sentences(response: str, number: int, relation: str) -> bool:
    """How many sentences; a list item, a table row and a heading with a blank line after it count as one each.

    A line break alone ends none: a stanza without full stops is one sentence.
    """
    text = response.translate(_STOPS)
    if response.islower():
        text = text.upper()  # a small letter after a full stop would go on with the sentence
    spans = sentences(text)
    return _compare(sum(any(map(str.isalnum, text[start:end])) for start, end in spans), relation, number)


def nth_paragraph(response: str, paragraphs: int, nth: int, first_word: str) -> bool:
    """So many paragraphs with blank lines between them, and the nth (from 1) begins with the word, in any case."""
    parts = [part for part in _BLANK_LINES.split(response) if part.strip()]
    wanted = [word.casefold() for word in _spoken(first_word)]
    begins = [word.casefold() for word in _spoken(parts[nth - 1])] if len(parts) == paragraphs else []
    return bool(wanted) and begins[: len(wanted)] == wanted


def no_comma(response: str) -> bool:
    """No comma of Latin, Arabic, Chinese or Japanese writing, not even inside a number."""
    return not _COMMAS.intersection(response)


def folded(text: str) -> str:
    """The text in one case, with straight apostrophes and single spaces."""
    return " ".join(text.casefold().replace("’", "'").split())


def _perhaps_english(response: str) -> bool:
    """Whether it is in English, or in Latin letters and too short to tell."""
    told = language(response)
    return told == "en" or (told is None and script(response) == "Latin")


def _compare(found: int, relation: str, wanted: int) -> bool:
    return found >= wanted if relation == "at least" else found < wanted


def _occurrences(text: str, keyword: str) -> int:
    """How often the keyword stands in the text as whole words, without overlap, white space being alike."""
    text, keyword = folded(text), folded(keyword)
    count = position = 0
    while (start := text.find(keyword, position)) >= 0:
        end = start + len(keyword)
        whole = _boundary(text, start) and _boundary(text, end)
        count += whole
        position = end if whole else start + 1
    return count


def _boundary(text: str, position: int) -> bool:
    """Whether no word goes on from before the position to after it."""
    if position in (0, len(text)):
        return True
    before, after = text[position - 1], text[position]
    if unicodedata.category(after).startswith("M"):
        return False
    wordlike = before.isalnum() or unicodedata.category(before).startswith("M")
    return not (wordlike and after.isalnum()) or bool(_UNSPACED.match(before) or _UNSPACED.match(after))


def _spoken(text: str) -> list[str]:
    """The words of the text as written.

    What :func:`llmkit.text.words.words` cuts at a digit ("GPT4") or at a vowel sign of an Indic script is put together.
    """
    pieces: list[tuple[int, int]] = []
    for word in words(text):
        if pieces and _joined(text, pieces[-1][1], word.start):
            pieces[-1] = (pieces[-1][0], word.end)
        else:
            pieces.append((word.start, word.end))
    return [text[start:end] for start, end in pieces]


def _joined(text: str, end: int, start: int) -> bool:
    """Whether what stands between two pieces of words holds them together."""
    if end == start:
        return not any(unicodedata.category(character) == "Lo" for character in text[end - 1 : end + 1])
    return all(unicodedata.category(c).startswith("M") or c in _JOINERS for c in text[end:start])
