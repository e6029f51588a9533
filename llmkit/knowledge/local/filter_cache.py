"""Which rows pass a filter, kept for the next search with it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llmkit.knowledge.filters.expression import Filter
from llmkit.knowledge.local.catalog import Catalog

_KEPT = 64


class Permitted:
    """Live rows by generation and filter."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._rows: dict[tuple[int, str], NDArray[np.int64]] = {}

    def rows(self, generation: int, where: Filter) -> NDArray[np.int64]:
        """Rows (n,) that live in the generation and pass the filter, ascending; the same array the next time."""
        key = (generation, repr(where))  # filters on 1 and on true are equal, and mean different rows
        if key not in self._rows:
            condition, parameters = where.sql()
            if len(self._rows) >= _KEPT:
                self._rows.clear()
            self._rows[key] = self._catalog.live_rows(generation, condition, parameters)
        return self._rows[key]
