"""Runs a search of several steps on one generation, whatever is committed meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from llmkit.knowledge.store import SnapshotExpired
from llmkit.protocols import Searchable

Result = TypeVar("Result")


def on_one_snapshot(kb: Searchable, search: Callable[[Searchable], Result]) -> Result:
    """Run a search on the snapshot that `kb` shows.

    A snapshot expires if its documents are erased or its vectors are compacted while the search runs. If `kb` is a
    knowledge base, this function then refreshes it and runs the search once more. A snapshot cannot be refreshed.

    Raises:
        SnapshotExpired: `kb` is a snapshot that has expired, or the second search met an expired snapshot too.
    """
    try:
        return search(kb.snapshot())
    except SnapshotExpired:
        refresh = getattr(kb, "refresh", None)
        if refresh is None:
            raise
        refresh()
        return search(kb.snapshot())
