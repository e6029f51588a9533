"""Sentences of a text that speak to the assistant which reads it, instead of to people.

A document has no reason to name the tools of an assistant, to say how every answer must end, or to undo earlier
instructions. Rules of wording find that, in English and German; whoever knows them can word an instruction so that none
of them sees it. It is a smoke detector, no lock.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from llmkit.text.sentences import sentences
from llmkit.text.words import words

_READER = r"(?:ai|a\.i\.|assistant|language model|llm|chat ?bot|chatgpt|gpt)"
_MAKE = (
    r"(?:add|anagram|append|augment|combine|convert|encode|encrypt|enhance|express|give|group|include|insert|integrate|"
    r"introduce|jumble|make|mention|misspell|modify|phrase|provide|put|rearrange|remove|render|replace|reverse|scramble|"
    r"shift|shorten|substitute|translate|use|write)"
)
_RULES: tuple[tuple[str, str], ...] = (
    (
        "undoes earlier instructions",
        r"\b(?:ignore|disregard|forget|override|bypass)\s+(?:\w+\s+){0,3}?(?:previous|earlier|prior|above|preceding|"
        r"existing|former|your|system|original|all|any)\b[^.!?\n]{0,30}?"
        r"\b(?:instruction|rule|prompt|guideline|direction|order|restriction|command)s?\b"
        r"|\b(?:ignore|forget|disregard|drop)\s+(?:the|this|that|your)\s+(?:user'?s?\s+)?(?:question|user|task|request)\b"
        r"|\b(?:vergiss|vergesst|ignoriere|ignoriert|missachte)\s+(?:\w+\s+){0,4}?"
        r"(?:anweisung|instruktion|vorgabe|regel|frage)",
    ),
    ("holds marks of a chat", r"<\|[a-z_]{2,24}\|>|(?-i:\[/?INST\]|<</?SYS>>)|</?start_of_turn>"),
    (
        "says what answers must hold",
        r"\b(?:begin|start|end|finish|close|preface|prefix|conclude|append)\b[^.!?\n]{0,20}?\b(?:every|each|all|your)\s+"
        r"(?:\w+\s+)?(?:answer|repl(?:y|ie)|response|output|message)s?\b"
        rf"|(?:^|\|)\W{{0,4}}(?:(?:please|now|also|you\s+must|can\s+you)[,\s]+)*{_MAKE}\b[^\n]{{0,200}}?\b(?:your|every|each|all)\s+"
        r"(?:\w+\s+)?(?:answer|repl(?:y|ie)|response|output)s?\b"
        r"|(?:^|\|)\W{0,4}in\s+your\s+(?:\w+\s+)?(?:answer|reply|response|output),\s"
        r"|\bonly\s+(?:correct|right|valid|true|acceptable)\s+(?:answer|reply|response)\b"
        r"|\b(?:say|repl(?:y|ies)|respond|answer|output|print)\b[^.!?\n]{0,60}?\band\s+nothing\s+(?:else|more)\b"
        r"|\b(?:respond|reply|answer)\s+(?:only|exactly|just|solely)\s+(?:with\b|:)"
        r"|\byou\s+are\s+now\s+(?:called|named|an?\b|in\b|the\b)"
        r"|\bfrom\s+now\s+on,?\s+(?:you\s+(?:are|must|will|answer)\b|(?:end|begin|start|answer|reply|respond|say|call|act|always|never|only)\b)"
        r"|\b(?:beende|beginne)\s+(?:jede|alle|deine)\w*\s+(?:antwort|ausgabe)|\bantworte\s+(?:nur|ab|immer|stets)\b",
    ),
    (
        "is addressed to an assistant",
        rf"\b(?:note|message|notice|instructions?|attention|hint)\s*(?:to|for|,|:)\s*(?:the\s+|any\s+|all\s+|an?\s+)?"
        rf"{_READER}s?\b"
        rf"|\b{_READER}s?\s*[:,]\s*(?:please\s+|you\s+|now\s+)*(?:must|should|call|use|run|send|write|say|add|do|tell|ignore|answer|"
        rf"reply|respond|include|mention|recommend|visit)\b"
        rf"|\b(?:dear|hey|hello)\s+{_READER}\b"
        rf"|\b(?:an|any|the|every)\s+{_READER}\s+(?:\w+\s+)?(?:must|has to|have to|needs to)\b"
        rf"|^\s*\W{{0,6}}(?:system|assistant)\s*(?:prompt|message|note|override)?\s*:\s*\S",
    ),
    (
        "speaks in the user's name",
        r"\bthe\s+user\s+(?:has|already|hereby)\s+(?:\w+\s+){0,4}?(?:approve[sd]?|authori[sz]e[sd]?|"
        r"confirm(?:s|ed)?|consent(?:s|ed)?|agree[sd])\b"
        r"|\b(?:do\s+not|don't|never)\s+(?:tell|inform|ask|show|mention\s+(?:it|this|that)\s+to|reveal\s+(?:it|this|that)\s+to)\s+"
        r"the\s+user\b",
    ),
)  # fmt: skip
_FOUND = tuple((why, re.compile(rule, re.IGNORECASE | re.MULTILINE)) for why, rule in _RULES)
_TOKEN = re.compile(r"[^\W_]+(?:[-_.@/:]+[^\W_]+)*")  # a word, 1,200 as two, LEMON-1407, someone@example.com
_CELL = " | "  # what stands in the cells of a table row before belongs to others
_PARAGRAPH = re.compile(r"\n\s*\n")


@dataclass(frozen=True, slots=True)
class Addressed:
    """A place that speaks to the assistant."""

    start: int
    end: int
    """The end of its paragraph: what follows an instruction belongs to it."""
    quote: str
    """The first sentence that does."""
    why: str
    """What gives it away."""


def addressed(text: str, tools: Iterable[str] = ()) -> list[Addressed]:
    """The places of a text that speak to an assistant, in order and apart from each other.

    Args:
        text: by somebody who is not trusted.
        tools: names of tools that the reader can call; a text that names one, ``write_file``, knows whom it speaks to.
    """
    rules = [*_FOUND, *_named(tools)]
    found: list[Addressed] = []
    for start, end in sentences(text):
        if found and start < found[-1].end:
            continue
        matches = ((why, rule.search(text[start:end])) for why, rule in rules)
        why, match = next(((why, match) for why, match in matches if match), ("", None))
        if match:
            cell = text.rfind(_CELL, start, start + match.start())
            start = start if cell < 0 else cell + len(_CELL)
            paragraph = _PARAGRAPH.search(text, end)
            found.append(Addressed(start, paragraph.start() if paragraph else len(text), text[start:end], why))
    return found


def specific(text: str) -> frozenset[str]:
    """The names, numbers and addresses of a text, case-folded: what an answer does not hold by chance."""
    found = set()
    for start, end in sentences(text):
        for n, match in enumerate(_TOKEN.finditer(text, start, end)):
            token = match.group()
            name = token[1:] != token[1:].lower() or (n > 0 and token[0].isupper())
            if not token.isalpha() or (name and words(token)[0].content):
                found.add(token.casefold())
    return frozenset(found)


def tokens(text: str) -> frozenset[str]:
    """All that `specific` chooses from."""
    return frozenset(match.group().casefold() for match in _TOKEN.finditer(text))


def without(text: str, places: Sequence[Addressed]) -> str:
    """The text with those places blank, so that every other offset stays."""
    for place in places:
        text = text[: place.start] + " " * (place.end - place.start) + text[place.end :]
    return text


def _named(tools: Iterable[str]) -> list[tuple[str, re.Pattern[str]]]:
    """Rules for the tools: their name, where it is no word of everyday language, or a call of it written out."""
    rules = []
    for name in tools:
        spelled, quoted = re.escape(name), re.escape(json.dumps(name))
        odd = "" if name.isalpha() else rf"\b{spelled}\b|"
        rules.append((f"names the tool {name}", re.compile(rf'{odd}"(?:name|tool|function)"\s*:\s*{quoted}')))
    return rules
