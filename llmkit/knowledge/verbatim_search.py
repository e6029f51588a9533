"""What only some documents say: their names and words, to find where they were quoted once they are to be forgotten."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmkit.errors import KnowledgeError
from llmkit.knowledge.store import Snapshot

_WORD = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]|[^\\W_]+")
_RUN = 5  # words in a row that no other document has, from which on a text quotes
_CODE = 5  # characters of a word with a digit in it from which on it stands for itself: a number, a key, a plate


@dataclass(frozen=True, slots=True)
class Quotes:
    """Some documents of a knowledge base, and what is in them and in no other."""

    knowledge: Path
    names: frozenset[str]
    """Their ids, and those of their sources that hold nothing else."""
    texts: tuple[str, ...]
    """Text and title of every version that is kept."""
    runs: frozenset[tuple[str, ...]]
    """Five words in a row, in small letters; where a text has fewer, all of them."""
    words: frozenset[str]
    """Single words with digits, in small letters."""

    def in_text(self, text: str) -> bool:
        """Whether a text quotes the documents."""
        found = words_of(text)
        return any(word in self.words for word in found) or any(run in self.runs for run in self._runs(found))

    def in_value(self, value: Any) -> bool:
        """Whether any text in a JSON value quotes the documents or is the name of one."""
        return any(self.named(text) or self.in_text(text) for text in strings(value))

    def named(self, text: str) -> bool:
        """Whether a text is a name of one of the documents or of a chunk of it."""
        return text in self.names or text.rpartition("#")[0] in self.names

    def _runs(self, found: list[str]) -> Iterator[tuple[str, ...]]:
        for length in {len(run) for run in self.runs}:
            yield from runs_of(found, length)


def quotes_of(view: Snapshot, location: str, ids: Sequence[str], similar: Callable[[str], str | None]) -> Quotes:
    """What only these documents say, in any version that is kept. Reads the whole knowledge base.

    Args:
        view: any snapshot of the owner.
        location: where the knowledge base is.
        ids: of the documents.
        similar: names an id that resembles one that is not there.

    Raises:
        KnowledgeError: a document that is in no generation.
    """
    texts: dict[str, None] = {}
    names = set(ids)
    for name in ids:
        found = list(view.every_version([name]))
        if not found:
            raise no_such_document(location, name, similar(name))
        for document, source in found:
            texts |= {document.title: None, document.text: None}
            names.add(source)
    mine = {*ids}
    runs: set[tuple[str, ...]] = set()
    words: set[str] = set()
    for text in texts:
        found_words = words_of(text)
        runs |= set(runs_of(found_words, min(_RUN, len(found_words) or _RUN)))
        words |= {word for word in found_words if len(word) >= _CODE and any(c.isdigit() for c in word)}
    lengths = {len(run) for run in runs}
    for document, source in view.every_version():
        if document.id in mine:
            continue
        names.discard(source)
        other = words_of(f"{document.title}\n{document.text}")
        words.difference_update(other)
        for length in lengths:
            runs.difference_update(runs_of(other, length))
    kept = tuple(filter(None, texts))
    return Quotes(Path(location).resolve(), frozenset(names), kept, frozenset(runs), frozenset(words))


def no_such_document(location: str, name: str, similar: str | None) -> KnowledgeError:
    """The error that nothing is forgotten, because no generation has that document."""
    hint = f"; did you mean {similar!r}?" if similar else " (misspelt, or forgotten already)"
    return KnowledgeError(f"{location} has no document {name!r} in any generation{hint}; nothing was forgotten")


def words_of(text: str) -> list[str]:
    """Words in small letters, Chinese and Japanese by the character."""
    return _WORD.findall(text.casefold())


def runs_of(words: list[str], length: int) -> Iterator[tuple[str, ...]]:
    """Every run of that many words."""
    return zip(*(words[at:] for at in range(length)), strict=False)


def strings(value: Any) -> Iterator[str]:
    """Every text in a JSON value, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield str(key)
            yield from strings(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from strings(item)
