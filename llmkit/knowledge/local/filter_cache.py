"""Which rows of a snapshot pass a filter, kept for the next search with the same filter."""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from llmkit.knowledge.local.catalog import Catalog
from llmkit.knowledge.local.filter_sql import compile_filter

_KEPT = 64


class FilterCache:
    """Live rows of one generation by filter."""

    def __init__(self, catalog: Catalog, generation: int) -> None:
        self._catalog = catalog
        self._generation = generation
        self._lock = threading.Lock()
        self._rows: dict[str, NDArray[np.int64]] = {}

    def rows(self, where: object) -> NDArray[np.int64]:
        """Rows (n,) that live in the generation and pass the filter, ascending; the same array the next time."""
        key = repr(where)  # filters on 1 and on true are equal, and mean different rows
        with self._lock:
            found = self._rows.get(key)
        if found is None:
            condition, parameters = compile_filter(where)
            found = self._catalog.live_rows(self._generation, condition, parameters)
            with self._lock:
                if len(self._rows) >= _KEPT:
                    self._rows.clear()
                found = self._rows.setdefault(key, found)
        return found
