"""Guards for parameters that take a list: a lone string is refused, or taken as one item.

Python lets a string stand wherever a sequence of strings is expected, as a sequence of its letters. Every public
function that takes several texts, ids or paths therefore calls a function of this module.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TypeVar

from llmkit.errors import DataError

Item = TypeVar("Item")
Many = TypeVar("Many", bound=Iterable[object])
Texts = TypeVar("Texts", bound=Collection[str])


def many(items: Many, name: str) -> Many:
    """Return `items` unchanged; refuse one string, one path, and anything that cannot be iterated over.

    Use it where the result has one entry for each item: one item and a list of one item then give different results.

    Args:
        items: what the caller gave.
        name: name of the parameter, for the message.

    Raises:
        DataError: `items` is a single item, or cannot be iterated over.
    """
    if isinstance(items, str | bytes | Path):
        shown = repr(items if len(str(items)) <= 40 else str(items)[:40] + "…")
        raise DataError(f"{name} takes a list, and {shown} is one item: write {name}=[{shown}]")
    if not isinstance(items, Iterable):
        raise DataError(f"{name} takes a list, not {type(items).__name__}")
    return items


def many_texts(texts: Texts, name: str) -> Texts:
    """Like :func:`many`; every item must be a string, and the items must be countable (a list, not a generator).

    Raises:
        DataError: `texts` is one string or a generator, or an item is something else; the message gives its position.
    """
    many(texts, name)
    if not hasattr(texts, "__len__"):
        raise DataError(f"{name} takes a list, not {type(texts).__name__}: write list(…) around it")
    for position, text in enumerate(texts):
        if not isinstance(text, str):
            raise DataError(f"{name}[{position}] is {type(text).__name__}, not a text: {name} takes a list of strings")
    return texts


def one_or_many(items: str | Path | Iterable[Item], name: str) -> list[Item]:
    """A list of the items; one string or path is a list of one.

    Use it where the result does not depend on how the items were given: ids to delete, folders to read.

    Raises:
        DataError: `items` cannot be iterated over.
    """
    if isinstance(items, str | bytes | Path):
        return [items]  # type: ignore[list-item]
    if not isinstance(items, Iterable):
        raise DataError(f"{name} takes one item or a list of items, not {type(items).__name__}")
    return list(items)


def one_or_many_texts(items: str | Iterable[str], name: str) -> list[str]:
    """Like :func:`one_or_many`; every item must be a string.

    Raises:
        DataError: an item is something else; the message gives its position.
    """
    return list(many_texts(one_or_many(items, name), name))
