"""Text that is valid Unicode, from a server's pieces that may hold halves of characters.

A character outside the basic plane is two UTF-16 surrogates in JSON's escapes and four bytes in UTF-8. Gateways that
cut a reply into tokens send the halves in two chunks. :class:`CharacterJoiner` joins them; a half that stays alone
becomes U+FFFD and is counted, because no file, terminal or database takes it.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_HALF = re.compile(r"[\ud800-\udfff]")
_BYTES = re.compile(r"[\udc80-\udcff]+")  # bytes that are not UTF-8, as `surrogateescape` keeps them
_PAIR = re.compile(r"[\ud800-\udbff][\udc00-\udfff]")


class Joined(NamedTuple):
    """A text whose halves are joined."""

    text: str
    replaced: int
    """Halves that stand alone and became U+FFFD."""
    undecodable: int
    """Bytes among them that are not UTF-8."""


def join_halves(text: str) -> Joined:
    """Join the halves of characters in a text; those that stand alone become U+FFFD."""
    if _HALF.search(text) is None:
        return Joined(text, 0, 0)
    text = _PAIR.sub(lambda pair: pair.group().encode("utf-16-le", "surrogatepass").decode("utf-16-le"), text)
    undecodable = 0

    def decoded(run: re.Match[str]) -> str:
        nonlocal undecodable
        found = run.group().encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        undecodable += found.count("\ufffd")
        return found

    text = _BYTES.sub(decoded, text)
    text, lone = _HALF.subn("\ufffd", text)
    return Joined(text, lone + undecodable, undecodable)


class CharacterJoiner:
    """Joins the halves of characters over the pieces of a stream."""

    def __init__(self) -> None:
        self.replaced = 0
        """Characters that were replaced by U+FFFD so far."""
        self.undecodable = 0
        """How many of them were bytes that are not UTF-8, inside the text; a text may end within a character."""
        self._held = ""

    def feed(self, piece: str) -> str:
        """The text that is whole; halves at the end wait for the next piece."""
        text = self._held + piece
        self._held = ""
        if begun := _begun(text):
            text, self._held = text[:-begun], text[-begun:]
        return self._joined(text)

    def finish(self) -> str:
        """What is left at the end of the stream."""
        found = join_halves(self._held)
        self._held = ""
        self.replaced += found.replaced
        return found.text

    def _joined(self, text: str) -> str:
        found = join_halves(text)
        self.replaced += found.replaced
        self.undecodable += found.undecodable
        return found.text


def _begun(text: str) -> int:
    """How many halves at the end of the text begin a character that the next piece may complete."""
    for count, half in enumerate(reversed(text[-3:]), 1):
        if "\ud800" <= half <= "\udbff":
            return count if count == 1 else 0
        byte = ord(half) - 0xDC00
        if not 0x80 <= byte <= 0xFF:
            return 0
        if byte >= 0xC2:  # the first byte of a character says how many bytes it has
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return count if count < length else 0
    return 0
