"""Answers made comparable: SQuAD's normalisation (Rajpurkar et al. 2016), and characters where there are no words."""

from __future__ import annotations

import re
import string
import unicodedata

from llmkit.pipeline.steps.answering.answer import MARK

_CJK = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
_ARTICLES = re.compile(r"\b(a|an|the)\b")


def said(text: str) -> str:
    """An answer without its citation marks."""
    return " ".join(MARK.sub(" ", text).split())


def normal(text: str) -> str:
    """Lower case, no punctuation, no English articles, single spaces.

    Equal to SQuAD's for ASCII text; other punctuation goes too, and text with Chinese or Japanese characters is
    brought to NFKC first.
    """
    if _CJK.search(text):
        text = unicodedata.normalize("NFKC", text)
    kept = (c for c in text.lower() if c not in string.punctuation and not unicodedata.category(c).startswith("P"))
    return " ".join(_ARTICLES.sub(" ", "".join(kept)).split())


def tokens(text: str) -> list[str]:
    """Words of the normalised text; each Chinese or Japanese character is one."""
    return _CJK.sub(lambda found: f" {found.group()} ", normal(text)).split()


def contains(text: str, wanted: str) -> bool:
    """Whether the normalised tokens of `wanted` stand in `text`, in a row."""
    inside, sought = tokens(text), tokens(wanted)
    if not sought:
        return False
    return any(inside[i : i + len(sought)] == sought for i in range(len(inside) - len(sought) + 1))


def matched(text: str, wanted: str) -> float:
    """F1 of the tokens the two share, each as often as both have it."""
    inside, sought = tokens(text), tokens(wanted)
    if not inside or not sought:
        return float(inside == sought)
    rest = list(sought)
    shared = 0
    for token in inside:
        if token in rest:
            rest.remove(token)
            shared += 1
    return 2 * shared / (len(inside) + len(sought))
