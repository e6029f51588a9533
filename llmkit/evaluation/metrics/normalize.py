"""Answers made comparable: whether there is one, and SQuAD's normalisation of its text (Rajpurkar et al. 2016)."""

from __future__ import annotations

import re
import string
import unicodedata

from llmkit.pipeline.steps.answering.answer import MARK
from llmkit.types import Answer, State

_CJK = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
_ARTICLES = re.compile(r"\b(a|an|the)\b")


def read_answer(state: State) -> Answer | str:
    """The answer to score, an abstention included; or, as a text, why there is none.

    A model that sends no text says nothing about the documents: that is neither an answer nor an abstention.
    """
    if state.answer is None:
        return "the pipeline gives no answer"
    replies = [record.detail["raw"] for record in state.records if isinstance(record.detail.get("raw"), str)]
    if replies and not replies[-1].strip():
        return "the model answered with no text, which is no abstention"
    return state.answer if state.answer.text.strip() else "the answer has no text"


def strip_marks(text: str) -> str:
    """An answer without its citation marks."""
    return " ".join(MARK.sub(" ", text).split())


def normalize(text: str) -> str:
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
    return _CJK.sub(lambda found: f" {found.group()} ", normalize(text)).split()


def contains(text: str, wanted: str) -> bool:
    """Whether the normalised tokens of `wanted` stand in `text`, in a row."""
    inside, sought = tokens(text), tokens(wanted)
    if not sought:
        return False
    return any(inside[i : i + len(sought)] == sought for i in range(len(inside) - len(sought) + 1))


def token_f1(text: str, wanted: str) -> float:
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
