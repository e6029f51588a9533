"""Where sentences begin and end, by rules, with exact offsets.

A full stop ends a sentence when white space and something that can begin a sentence follow, unless it belongs to
an abbreviation, an initial or a number. Japanese and Chinese full stops end one wherever they stand. Blank lines and
list bullets and table rows always separate.
"""

from __future__ import annotations

import re

_ABBREVIATIONS = frozenset(
    """al approx apr art aug ave bros ca cf ch co corp dec dept dr ed eds eq etc feb fig figs gen gov hon inc jan jr jul
    jun lt ltd mar mr mrs ms mt no nos nov oct op p pp prof pt rev sec sep sept sgt sr st tab trans univ viz vol vols vs
    e.g i.e a.m p.m u.s u.k u.n ph.d z.b d.h bzw usw
    abb abs anm bd bspw evtl ggf hr hrsg inkl lfd mio mrd nr sog str tel vgl zzgl
    avda dra núm pág págs sra ud uds""".split()
)
_COUNTED = re.compile(
    r"\b(?:(?<!\bI\s)am|vom|zum|beim|im|bis|ab|seit|jede[mnrs]?|de[mnrs]|die|das)\s+\d{1,2}\Z", re.IGNORECASE
)
"""German writes a full stop for the -th: "am 31. Dezember", "der 2. Montag"; "I am 12." is English."""
_NUMBER = re.compile(r"\b\d{1,2}\Z")
_MONTH = re.compile(
    r"\.\s+(?:Januar|Jänner|Februar|März|April|Mai|Juni|Juli|August|September|Oktober|November|Dezember)\b"
)
_SPACED = re.compile(r"(?<=\b[a-zäöü]\.)\s+(?=[A-ZÄÖÜ]\.)")
"""Inside "z. B.", "u. U." and their kind."""
_BREAK = re.compile(
    r"""(?P<hard>\n[ \t]*\n\s*|\n(?=[ \t]*(?:\||(?:[-*•‣]|\d{1,3}[.)])[ \t])))   # blank line, list item, table row
      | (?P<cjk>[。！？｡]+[」』）”’"')\]]*)                                   # full-width stops end wherever they stand
      | (?<![.!?…])(?P<stop>[.!?…]+)(?P<close>["'”’»)\]]*)(?=\s)            # a stop that white space follows
    """,
    re.VERBOSE,
)
_LAST_WORD = re.compile(r"[\w.]*\Z")
_OPENERS = "\"'“‘«([¿¡"


def sentences(text: str) -> list[tuple[int, int]]:
    """Spans ``[start, end)`` of the sentences of `text`.

    In order, without overlap, trimmed of white space; every character that is not white space lies in one.
    """
    spans: list[tuple[int, int]] = []
    start = 0
    for match in _BREAK.finditer(text):
        if match.lastgroup == "hard" or match.group("hard"):
            cut = match.start()
        elif match.group("cjk") or _ends(text, match, start):
            cut = match.end()
        else:
            continue
        _add(spans, text, start, cut)
        start = match.end()
    _add(spans, text, start, len(text))
    return spans


def _ends(text: str, match: re.Match[str], start: int) -> bool:
    after = match.end()
    while after < len(text) and (text[after].isspace() or text[after] in _OPENERS):
        after += 1
    if after == len(text):
        return True
    if text[after].islower():
        return False
    if match.group("stop") != ".":
        return True
    word = _LAST_WORD.search(text, max(start, match.start() - 20), match.start())
    before = word.group() if word else ""
    initial = len(before) == 1 and before.isupper()
    if initial or before.casefold().strip(".") in _ABBREVIATIONS or _SPACED.match(text, match.end()):
        return False
    return not (before.isdecimal() and _ordinal(text, match.start()))


def _ordinal(text: str, stop: int) -> bool:
    """Whether the number before the stop counts, as in German dates."""
    line = text[max(0, stop - 20) : stop]
    dated = _NUMBER.search(line) is not None and _MONTH.match(text, stop) is not None
    return dated or _COUNTED.search(line) is not None


def _add(spans: list[tuple[int, int]], text: str, start: int, end: int) -> None:
    piece = text[start:end]
    left = len(piece) - len(piece.lstrip())
    right = len(piece.rstrip())
    if left < right:
        spans.append((start + left, start + right))
