"""Reasoning that a server leaves in the text of the answer.

Models that reason write ``<think>…</think>`` before the answer. A server with a parser for it sends the reasoning in a
field of its own; one without sends it as text. Some chat templates write the opening tag themselves, so that the reply
begins inside the block and holds the closing tag only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_TAGS = ("think", "thinking", "thought", "reasoning", "seed:think")
_OPEN = re.compile(rf"\s*(?:<({'|'.join(_TAGS)})>|(\[THINK\])|(◁think▷))", re.IGNORECASE)
_CLOSE_ALONE = re.compile(rf"</(?:{'|'.join(_TAGS)})>[ \t]*(?=\n|\Z)|\[/THINK\]|◁/think▷", re.IGNORECASE)
_HARMONY = re.compile(
    r"<\|channel\|>\s*(\w+)[^<]*<\|message\|>(.*?)(?=<\|(?:end|return|start|channel)\|>|\Z)", re.DOTALL
)
_CHANNEL = "<|channel|>"
_LONGEST_OPENING = 16
"""Characters after which a reply that has not opened a block does not open one."""


@dataclass(frozen=True, slots=True)
class Split:
    """A reply's text without its reasoning."""

    text: str
    reasoning: str
    opened: bool = True
    """Whether the block had an opening tag."""


def split_reasoning(text: str) -> Split:
    """Take the block of reasoning off the beginning of a reply.

    A block that is never closed is reasoning to its end. Tags further inside an answer are part of the answer.
    """
    if text.lstrip().startswith(_CHANNEL) and (parts := _HARMONY.findall(text)):
        final = "\n".join(body for channel, body in parts if channel == "final")
        return Split(final.strip(), "\n".join(body for channel, body in parts if channel != "final").strip())
    opening = _OPEN.match(text)
    if opening is None:
        closing = _CLOSE_ALONE.search(text)
        if closing is None or _OPEN.search(text[: closing.start()]):
            return Split(text, "", opened=True)
        return Split(text[closing.end() :].strip(), text[: closing.start()].strip(), opened=False)
    inside, close = text[opening.end() :], _closing(opening)
    reasoning, found, rest = _partition(inside, close)
    if not found:
        return Split("", reasoning.strip())
    more = split_reasoning(rest) if _OPEN.match(rest) else Split(rest.strip(), "")  # some models open a second block
    return Split(more.text.strip(), "\n".join(filter(None, (reasoning.strip(), more.reasoning))))


class ReasoningFilter:
    """Tells the reasoning at the beginning of a stream from the answer, piece by piece.

    A block without an opening tag cannot be told while it is written: it passes as text.
    """

    def __init__(self) -> None:
        self._state = "begin"
        self._held = ""
        self._close = ""

    def feed(self, piece: str) -> tuple[str, str]:
        """The text and the reasoning that are known to be such after this piece."""
        self._held += piece
        text = reasoning = ""
        if self._state == "begin" and self._held.lstrip().startswith(_CHANNEL):
            self._state = "channels"  # several parts, of which the last is the answer: known at the end
        if self._state == "begin":
            opening = _OPEN.match(self._held)
            if opening is not None:
                self._state, self._close = "inside", _closing(opening)
                self._held = self._held[opening.end() :]
            elif not _may_open(self._held):
                self._state = "answer"
            else:
                return "", ""
        if self._state == "inside":
            before, found, rest = _partition(self._held, self._close)
            if found:
                reasoning, self._held, self._state = before, rest, "after"
            else:
                keep = len(self._close) - 1
                cut = max(0, len(self._held) - keep)
                reasoning, self._held = self._held[:cut], self._held[cut:]
        if self._state == "after":
            self._held = self._held.lstrip()
            if self._held:
                self._state = "answer"
        if self._state == "answer":
            text, self._held = self._held, ""
        return text, reasoning

    def finish(self) -> tuple[str, str]:
        """What was held back until the end of the stream."""
        held, self._held = self._held, ""
        if self._state == "channels":
            split = split_reasoning(held)
            return split.text, split.reasoning
        return ("", held) if self._state == "inside" else (held, "")


def _closing(opening: re.Match[str]) -> str:
    if opening.group(1):
        return f"</{opening.group(1)}>"
    return "[/THINK]" if opening.group(2) else "◁/think▷"


def _partition(text: str, close: str) -> tuple[str, str, str]:
    place = text.casefold().find(close.casefold())
    return (text, "", "") if place < 0 else (text[:place], close, text[place + len(close) :])


def _may_open(text: str) -> bool:
    begun = text.lstrip()
    if not begun:
        return True
    openings = [*(f"<{tag}>" for tag in _TAGS), "[THINK]", "◁think▷", _CHANNEL]
    return len(begun) < _LONGEST_OPENING and any(one.casefold().startswith(begun.casefold()) for one in openings)
