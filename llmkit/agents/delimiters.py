"""Delimiters that mark tool results as data. The text between them cannot contain them."""

from __future__ import annotations

OPEN, CLOSE = "<<<", ">>>"
_MARKS = str.maketrans({"<": "‹", ">": "›"})
_INSIDE = (OPEN, CLOSE, "<|", "|>", "[INST]", "[/INST]", "<s>", "</s>", "<start_of_turn>", "<end_of_turn>")


def delimit(text: str) -> str:
    """The text between ``<<<`` and ``>>>``; these and the marks of chat templates are replaced inside it."""
    return f"{OPEN}\n{escape_delimiters(text)}\n{CLOSE}"


def escape_delimiters(text: str) -> str:
    """The text with similar characters in place of delimiters and of chat template marks."""
    for mark in _INSIDE:
        if mark in text:
            text = text.replace(mark, mark.translate(_MARKS).replace("[", "(").replace("]", ")"))
    return text
