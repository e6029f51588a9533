"""What tools give is shown as data: between marks that it cannot hold itself."""

from __future__ import annotations

OPEN, CLOSE = "<<<", ">>>"
_MARKS = str.maketrans({"<": "‹", ">": "›"})
_INSIDE = (OPEN, CLOSE, "<|", "|>", "[INST]", "[/INST]", "<s>", "</s>", "<start_of_turn>", "<end_of_turn>")


def fenced(text: str) -> str:
    """The text between marks; marks of ours and of chat templates in it are written with other characters."""
    return f"{OPEN}\n{harmless(text)}\n{CLOSE}"


def harmless(text: str) -> str:
    """The text without anything that ends a fence or begins a turn of a conversation."""
    for mark in _INSIDE:
        if mark in text:
            text = text.replace(mark, mark.translate(_MARKS).replace("[", "(").replace("]", ")"))
    return text
