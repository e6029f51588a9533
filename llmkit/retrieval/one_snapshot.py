"""A search of several steps on one generation, whatever is committed meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from llmkit.knowledge.store import SnapshotExpired
from llmkit.protocols import Searchable

Found = TypeVar("Found")


def on_one_snapshot(kb: Searchable, search: Callable[[Searchable], Found]) -> Found:
    """Run a search on the snapshot that `kb` shows.

    Where documents in it were forgotten, or it was compacted, while the search ran, a knowledge base is refreshed and
    the search runs once more. A snapshot cannot be refreshed.

    Raises:
        SnapshotExpired: `kb` is a snapshot and has lost rows.
    """
    try:
        return search(kb.snapshot())
    except SnapshotExpired:
        refresh = getattr(kb, "refresh", None)
        if refresh is None:
            raise
        refresh()
        return search(kb.snapshot())
