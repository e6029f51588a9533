"""Entries of WikDict's dictionaries, as FreeDict packs them for dictd.

Input: `dict-freedict-*.deb`, with an index (word, offset, length; numbers in base 64) and a compressed text, of which
an entry is a head word with its class in angle brackets and numbered lines of translations. Output: edges between
words of two languages.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from packages import read

DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
CLASSES = {"n": "noun", "pn": "noun", "v": "verb", "adj": "adjective"}
DICTIONARIES = 75
"""Those that fetch.sh downloads; one more or less would change many words a little, and nobody would see it."""
LONGEST = 3
"""Words of an entry; longer ones explain."""


class Edge(NamedTuple):
    """A word, its translation, and the class of both."""

    word: tuple[str, str]
    """Code of the language (ISO 639-3), and the word."""
    other: tuple[str, str]
    kind: str


def edges(folder: Path) -> list[Edge]:
    """Every entry of the folder's dictionaries, sorted."""
    packages = list(folder.glob("dict-freedict-*.deb"))
    if len(packages) != DICTIONARIES:
        raise SystemExit(
            f"{folder} has {len(packages)} packages dict-freedict-*, {DICTIONARIES} are needed: see fetch.sh"
        )
    return sorted({edge for package in packages for edge in dictionary(package)})


def dictionary(package: Path) -> Iterator[Edge]:
    """Edges of one dictionary."""
    code, other = package.name.split("_")[0].split("-")[2:]
    for first, *rest in entries(package):
        heading = re.sub(r"\s/+[^/]*/+", " ", first)  # without the pronunciation
        kind = re.search(r"<(\w+)[^>]*>\s*$", heading)
        word = bare(re.sub(r"<[^>]*>", "", heading))
        if len(word.split()) > LONGEST:
            continue
        for number, line in enumerate(rest):
            if number == 0 or re.match(r"\d+\.\s\S", line):
                for text in bare(re.sub(r"\s+\d+\.\s*$", "", re.sub(r"^\d+\.\s", "", line))).split(","):
                    text = re.sub(r"[{}\[\]()]", "", text).strip()
                    if text and len(text.split()) <= LONGEST:
                        yield Edge((code, word), (other, text), CLASSES.get(kind[1], "other") if kind else "other")


def entries(package: Path) -> Iterator[list[str]]:
    """Lines of each entry, once where several words lead to it."""
    files = read(package, r"dictd/freedict-[^/]*\.(index|dict\.dz)$")
    (index,) = (content for name, content in files.items() if name.endswith(".index"))
    (packed,) = (content for name, content in files.items() if name.endswith(".dz"))
    text, seen = gzip.decompress(packed), set()
    for line in index.decode().rstrip("\n").split("\n"):
        word, start, length = line.split("\t")[:3]
        if not word.startswith("00database") and start not in seen:
            seen.add(start)
            yield text[number(start) : number(start) + number(length)].decode(errors="ignore").split("\n")


def number(digits: str) -> int:
    value = 0
    for digit in digits:
        value = value * 64 + DIGITS.index(digit)
    return value


def bare(text: str) -> str:
    """The text without what stands in brackets, also in those of others."""
    longer = ""
    while longer != text:
        longer, text = text, re.sub(r"\([^()]*\)|\[[^\]]*\]|\{[^}]*\}", " ", text)
    return " ".join(text.split())
