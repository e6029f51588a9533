"""Access labels of roots as the catalogue keeps them."""

from __future__ import annotations

import json
from collections.abc import Mapping

from llmkit.knowledge.access_labels import written
from llmkit.knowledge.local.catalog import Catalog


def root_labels(catalog: Catalog) -> dict[str, tuple[str, ...]]:
    """Access labels by the root they were set for."""
    rows = catalog.rows("SELECT substr(key, 8), value FROM meta WHERE substr(key, 1, 7) = 'access:'")
    return {root: tuple(json.loads(value)) for root, value in rows}


def set_root_labels(catalog: Catalog, labels: Mapping[str, tuple[str, ...]]) -> None:
    """Write them down before anything is read, so that a crash lets nobody in."""
    catalog.set_meta({f"access:{root}": written(some) for root, some in labels.items()})
