"""Words of a text with their offsets, for comparing a claim with its evidence.

Letters and digits make words; numbers keep their decimal point and lose their thousands separators; every
Chinese, Japanese or Korean character is a word of its own, so that runs of them can be compared at all.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uac00-\ud7af"
_WORD = re.compile(rf"[{_CJK}]|\d+(?:[.,]\d+)*|[^\W\d_{_CJK}]+(?:['’][^\W\d_{_CJK}]+)*")
_NEGATIONS = frozenset("no not never none neither nor without cannot nobody nothing".split())
_STOP = frozenset(
    """a about above after again all also an and any are as at be because been before being below between both but by
    can could did do does doing down during each few for from further had has have having he her here hers him his how
    i if in into is it its just me more most my of off on once only or other our out over own same she should so some
    such than that the their them then there these they this those through to too under until up us very was we were
    what when where which while who whom why will with would you your""".split()
)


@dataclass(frozen=True, slots=True)
class Word:
    """A word, folded for comparison, and where it stands."""

    text: str
    """Case-folded; numbers without thousands separators."""
    start: int
    end: int
    name: bool
    """Written with a capital letter."""

    @property
    def number(self) -> bool:
        """Whether it is a number."""
        return self.text[0].isdigit()

    @property
    def negation(self) -> bool:
        """Whether it denies: ``not``, ``never``, ``isn't``."""
        return self.text in _NEGATIONS or self.text.endswith("n't")

    @property
    def content(self) -> bool:
        """Whether it carries meaning of its own."""
        return self.text not in _STOP and not self.negation

    @property
    def stem(self) -> str:
        """The word without a common English ending, for a comparison that forgives inflection."""
        for ending in ("'s", "ing", "ies", "ed", "es", "s"):
            if self.text.endswith(ending) and len(self.text) - len(ending) >= 3:
                return self.text[: -len(ending)] + ("y" if ending == "ies" else "")
        return self.text


def words(text: str) -> list[Word]:
    """The words of a text, in order."""
    found = []
    for match in _WORD.finditer(text):
        raw = match.group()
        folded = raw.casefold().replace("’", "'")
        if raw[0].isdigit():
            folded = _number(raw)
        found.append(Word(folded, match.start(), match.end(), raw[0].isupper()))
    return found


def _number(raw: str) -> str:
    """``1,200.50`` as ``1200.5``; a comma followed by three digits separates thousands, else decimals."""
    if re.fullmatch(r"\d{1,3}(,\d{3})+(\.\d+)?", raw):
        raw = raw.replace(",", "")
    elif re.fullmatch(r"\d+,\d+", raw):
        raw = raw.replace(",", ".")
    return raw.rstrip("0").rstrip(".") if re.fullmatch(r"\d+\.\d+", raw) else raw
