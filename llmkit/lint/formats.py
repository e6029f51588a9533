"""Recognises which form of reply the wording of a prompt asks for, by a table of wordings.

The table has the wordings of the shipped prompts and similar ones, in English and Japanese. Other wordings are not
recognised. A sentence that forbids a form ("do not write JSON") does not ask for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from llmkit.prompts import Output, Prompt

_WORDINGS: dict[Output, str] = {
    "json": r"(?<![A-Za-z])JSON(?![A-Za-z])",
    "number": r"\b(?:reply|answer|respond) with (?:a|one|the) (?:single |whole )?number\b|\"answer:\" and the number"
    r"|数字だけ|数値だけ",
    "label": r"\bone (?:letter|label|of (?:these|the) (?:labels|words|classes|categories))\b|\$\{?labels\b|ラベル",
    "lines": r"\bnumbered lines?\b|番号付きの行|番号を付けた行",
    "form": r"^ACCEPT:",
    "code": r"\bcode block\b|コードブロック",
    "pairs": r"^Q:[^\n]*\nA:",
    "cited": r"\bcit(?:e|es|ing|ations?)\b|引用|出典",
}
_PATTERNS = {
    kind: re.compile(text.replace(" ", r"\s+"), re.IGNORECASE | re.MULTILINE) for kind, text in _WORDINGS.items()
}
_FORBIDS = re.compile(r"\b(?:not|never|no|without|instead of|don't)\b|(?:ません|ないで|使わず)", re.IGNORECASE)
_END = re.compile(r"[.!?。！？]\s|[。！？]|\n\n")

ALONE: frozenset[Output] = frozenset({"json", "number", "label", "lines", "form", "code", "pairs"})
"""Forms of a whole reply: a reply can have one of them only."""


def requested_forms(prompt: Prompt) -> dict[Output, str]:
    """The forms that the wording asks for, each with its words. Example turns of the assistant are ignored."""
    forms: dict[Output, str] = {}
    for role, text in prompt.messages:
        if role != "assistant":
            for kind, words in _matches(text):
                forms.setdefault(kind, words)
    return forms


def _matches(text: str) -> Iterator[tuple[Output, str]]:
    for kind, pattern in _PATTERNS.items():
        for match in pattern.finditer(text):
            if kind in ("form", "pairs") or not _is_forbidden(text, match):
                yield kind, " ".join(match.group().split())
                break


def _is_forbidden(text: str, match: re.Match[str]) -> bool:
    """Whether the sentence has a negation before the wording (in Japanese, after it)."""
    begin = max((end.end() for end in _END.finditer(text, 0, match.start())), default=0)
    closing = _END.search(text, match.end())
    before, after = text[begin : match.start()], text[match.end() : closing.end() if closing else len(text)]
    japanese = re.search(r"[\u3040-\u30ff]", before + match.group() + after) is not None
    return _FORBIDS.search(after if japanese else before) is not None
