"""From text to the terms of BM25, by language.

::

    NFKC ─ parts of identifiers ─ Chinese and Japanese by characters ─ words ─ lower case ─ stems ─ without accents

Full-width digits, ligatures and decomposed accents are the ordinary ones (NFKC). ``parseHttpHeader`` counts as itself
and as its parts. Chinese and Japanese have no spaces: overlapping pairs of characters stand for words, and ideographs
also for themselves. Words are stemmed in the knowledge base's one language; accents go last, because stemmers read
them. What each of these is worth is measured by ``benchmarks/languages.py``.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from llmkit.errors import ConfigError, unknown
from llmkit.text.language import LANGUAGES, language

AUTO = "auto"
ENGLISH = "en"
STEMMERS = {
    "ar": "arabic", "da": "danish", "de": "german", "el": "greek", "en": "english", "es": "spanish", "fi": "finnish",
    "fr": "french", "hu": "hungarian", "it": "italian", "nl": "dutch", "no": "norwegian", "pt": "portuguese",
    "ro": "romanian", "ru": "russian", "sv": "swedish", "ta": "tamil", "tr": "turkish",
    "ja": "english", "zh": "english",  # the Latin words in them
}  # fmt: skip
"""The stemmer of each language that has one; words of the others are taken as they stand."""
KNOWN = tuple(sorted({*LANGUAGES, *STEMMERS}))
"""ISO 639-1 codes a knowledge base can be in."""

_CJK_RUN = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]+")
_IDEOGRAPH = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
# camelCase, snake_case; tried once a word, from its start: a text without a space is one word as long as the text
_COMPOUND = re.compile(r"(?<!\w)\w*(?:[a-z0-9][A-Z]|[A-Za-z0-9]_[A-Za-z0-9])\w*")
_SEAM = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|_+")
_SAMPLE = 200  # texts that are looked at


def check_language(value: str) -> str:
    """The value itself: ``auto``, or a code that is known.

    Raises:
        ConfigError: names the codes there are.
    """
    if value != AUTO and value not in KNOWN:
        raise ConfigError(unknown("language", value, [AUTO, *KNOWN]))
    return value


def prepared(text: str, code: str = ENGLISH) -> str:
    """The text as the word analyzer reads it: normal forms, with parts of identifiers and characters set apart."""
    text = unicodedata.normalize("NFKC", text)
    if "İ" in text or code == "tr":  # Turkish: dotted İ is i, dotless I is ı; elsewhere İ must not leave a loose dot
        text = text.replace("İ", "i")
        text = text.replace("I", "ı") if code == "tr" else text
    text = _COMPOUND.sub(_with_parts, text)
    return _CJK_RUN.sub(lambda run: f" {' '.join(_characters(run.group()))} ", text)


def word_analyzer(code: str) -> Any:
    """The analyzer of prepared text: words, lower case, stems, no accents."""
    import tantivy

    built = (
        tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple())
        .filter(tantivy.Filter.remove_long(64))
        .filter(tantivy.Filter.lowercase())
    )
    if code in STEMMERS:
        built = built.filter(tantivy.Filter.stemmer(STEMMERS[code]))
    return built.filter(tantivy.Filter.ascii_fold()).build()


@dataclass(frozen=True, slots=True)
class Guess:
    """Which language texts are in, and how sure that is."""

    code: str
    note: str
    """What the user should know; empty where English was read and nothing had to be chosen."""


def guess(texts: Sequence[str]) -> Guess:
    """The language of more than half of the texts by length; English where there is none.

    At most 200 texts, evenly spread, are looked at: the same texts give the same guess.
    """
    step = max(1, -(-len(texts) // _SAMPLE))
    votes: Counter[str] = Counter()
    for text in texts[::step]:
        votes[language(text) or ""] += len(text)
    told = {code: count for code, count in votes.most_common() if code}
    best = next(iter(told), None)
    if best is not None and 2 * told[best] > sum(told.values()):
        how = "stemmed" if best in STEMMERS and best not in ("ja", "zh") else "not stemmed"
        if best in ("ja", "zh"):
            how = "indexed by characters"
        return Guess(best, "" if best == ENGLISH else f"the texts look like language {best!r}: words are {how} for it")
    if best is None:
        return Guess(ENGLISH, "")
    shares = ", ".join(f"{code} {count / sum(told.values()):.0%}" for code, count in list(told.items())[:3])
    return Guess(ENGLISH, f"the texts are in several languages ({shares}): words are stemmed as English")


def _with_parts(match: re.Match[str]) -> str:
    """An identifier and its parts."""
    whole = match.group()
    parts = [part for part in _SEAM.split(whole) if part]
    return whole if len(parts) < 2 else " ".join([whole, *parts])


def _characters(run: str) -> Iterator[str]:
    """Overlapping pairs, then every ideograph; a character that stands alone is given once."""
    if len(run) == 1:
        yield run
        return
    yield from (run[i : i + 2] for i in range(len(run) - 1))
    yield from _IDEOGRAPH.findall(run)
