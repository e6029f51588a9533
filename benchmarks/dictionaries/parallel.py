"""Texts that packages have both in English and in German or Spanish.

Input: a folder of wheels and Debian packages. Output: pairs of short texts (a sentence, or the words of a button).
Sentences of a paragraph are paired in order where both sides have as many of them, else the paragraph is one pair.
"""

from __future__ import annotations

import html
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

from babel import localedata
from babel.messages.mofile import read_mo
from packages import one, read

Pairs = dict[tuple[str, str], str]
"""Text of the language and its English, and the source that had it first."""

INTERFACES = """apache_superset django django_cms django_oscar homeassistant indico invenio_app_rdm
    jupyterlab_language_pack_de_de jupyterlab_language_pack_es_es kolibri mezzanine pgadmin4 sphinx spyder wagtail"""
CLDR = "languages territories scripts months days unit_display_names currency_names date_fields"
PLACEHOLDER = re.compile(r"%\([^)]*\)[sdf]?|%[sd]|\{[^{}]*\}|<[^>]*>|\[%.*?%\]|&(?=\w)|_(?=[A-Z])")
LONGEST = 600
"""Characters of a string; longer ones are licences and the like."""
TAG = re.compile(r"<[^>]*>")
SENTENCE_END = re.compile(r"(?<=[.!?:;])\s+(?=[\"'“„¿¡(]?[A-ZÄÖÜÁÉÍÓÚÑ0-9¿¡])")
HELP_BLOCK = re.compile(r'<(p|h\d|td|li)\s[^>]*?id="((?:par|hd|tit|bm)_[^"]+)"[^>]*>(.*?)</\1>', re.DOTALL)
BOOK_BLOCK = re.compile(r'(<h\d|class="para"|<dt|<title)[^>]*>(.*?)(?=<div|</div|</h\d|</dt|</title)', re.DOTALL)


def pairs(folder: Path, language: str) -> Pairs:
    """Every pair of the folder's packages, once."""
    found: Pairs = {}
    for source, several in (
        *((name, interface(one(folder, f"{name}-*.whl"), language)) for name in INTERFACES.split()),
        ("libreoffice-help", libreoffice(folder, language)),
        ("debian-handbook", handbook(folder, language)),
        ("cldr", cldr(language)),
    ):
        for text, english in several:
            pair = plain(text), plain(english)
            if all(pair) and pair[0] != pair[1]:
                found.setdefault(pair, source)
    return found


def interface(wheel: Path, language: str) -> Iterator[tuple[str, str]]:
    """Strings of a program: `translations/de.json` beside `en.json` (Home Assistant), or gettext's `de/….mo`."""
    files = read(wheel, rf"translations/({language}|en)\.json$|(?i:(^|/|-|_){language}([_-]{language})?/.*\.mo$)")
    for name, content in files.items():
        if name.endswith(".mo"):
            strings = [(first(entry.string), first(entry.id)) for entry in read_mo(io.BytesIO(content)) if entry.id]
        elif name.endswith(f"/{language}.json") and (english := files.get(name.replace(f"/{language}.", "/en."))):
            theirs, ours = dict(leaves(json.loads(content))), dict(leaves(json.loads(english)))
            strings = [(theirs[key], ours[key]) for key in theirs if key in ours]
        else:
            continue
        for text, source in strings:
            text, source = readable(text), readable(source)
            says = re.search(r"[^\W\d_]{3}", text) and re.search("[A-Za-z]{3}", source) and "http" not in source
            if says and len(text) < LONGEST and len(source) < LONGEST:
                yield text, source


def libreoffice(folder: Path, language: str) -> Iterator[tuple[str, str]]:
    """Paragraphs of LibreOffice's help: files and elements have the same names in every language."""
    blocks = {}
    for package, root in ((language, f"help/{language}/"), ("en-us", "help/en-US/")):
        for name, content in read(one(folder, f"libreoffice-help-{package}_*.deb"), rf"{root}.*\.html$").items():
            for _, element, text in HELP_BLOCK.findall(content.decode(errors="ignore")):
                blocks[package, name.split(root)[1], element] = text
    for (package, *where), text in blocks.items():
        if package == language and (english := blocks.get(("en-us", *where))):
            yield from sentences(text, english)


def handbook(folder: Path, language: str) -> Iterator[tuple[str, str]]:
    """Paragraphs of the Debian Administrator's Handbook, chapters that have the same blocks in both languages."""
    pages = read(one(folder, "debian-handbook_*.deb"), rf"html/({language}-{language.upper()}|en-US)/[^/]*\.html$")
    for name, content in pages.items():
        english = pages.get(re.sub(r"html/[^/]*", "html/en-US", name))
        if english and "/en-US/" not in name:
            theirs, ours = BOOK_BLOCK.findall(content.decode()), BOOK_BLOCK.findall(english.decode())
            if [kind for kind, _ in theirs] == [kind for kind, _ in ours]:
                for (_, text), (_, source) in zip(theirs, ours, strict=True):
                    yield from sentences(text, source)


def cldr(language: str) -> Iterator[tuple[str, str]]:
    """Names of languages, places, units and times in the Common Locale Data Repository, as Babel has them."""
    theirs, ours = (
        {key: text.replace("{0}", "") for kind in CLDR.split() for key, text in leaves(data.get(kind, {}), (kind,))}
        for data in (localedata.load(code, merge_inherited=False) for code in (language, "en"))
    )
    for key, text in theirs.items():
        if key in ours and len(text) > 2:
            yield text, ours[key]


def leaves(tree: dict, path: tuple = ()) -> Iterator[tuple[tuple, str]]:
    """Strings of nested dictionaries with their paths."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from leaves(value, (*path, key))
        elif isinstance(value, str):
            yield (*path, key), value


def first(plural: str | tuple[str, ...]) -> str:
    """The singular, where gettext has several numbers."""
    return plural if isinstance(plural, str) else plural[0]


def readable(text: str) -> str:
    """A program's string without placeholders, markup and marks of shortcuts."""
    text = PLACEHOLDER.sub(" ", html.unescape(text)).replace("\\n", " ")
    return re.sub(r"\s+", " ", text).strip(" :.…\t")


def plain(text: str) -> str:
    """HTML as one line of text."""
    return re.sub(r"\s+", " ", html.unescape(TAG.sub("", text))).strip()


def sentences(text: str, english: str) -> list[tuple[str, str]]:
    """Both paragraphs' sentences in order, or the paragraphs."""
    both = SENTENCE_END.split(plain(text)), SENTENCE_END.split(plain(english))
    return list(zip(*both, strict=True)) if len(both[0]) == len(both[1]) else [(text, english)]
