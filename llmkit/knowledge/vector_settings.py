"""How a knowledge base searches its vectors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from llmkit.part import Part


class VectorSettings(Part):
    """How vectors are to be searched. Written down when a knowledge base is made."""

    family: ClassVar[str] = "vectors"

    recall: float = Field(default=0.99, gt=0, le=1)
    """The recall@10 whose lower confidence bound an index must reach; 1 searches exactly."""
    structure: Literal["ivf", "hnsw", "flat"] | None = None
    """Lists around centroids, a graph of neighbours, or a scan of everything, which is exact; chosen by size where
    nothing is said."""
    codes: Literal["pq", "rabitq", "pq2", "rabitq2", "rabitq4", "sq8", "float16"] | None = None
    """How vectors are shortened; the shortest that reaches `recall` where nothing is said."""
    small: int = Field(default=20_000, ge=0)
    """Up to so many vectors everything is scanned, exactly, and no index is made."""

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.codes and self.structure == "flat":
            raise ValueError("a flat index is exact and takes no codes: leave them out, or take structure ivf")
        if self.structure == "hnsw" and self.codes not in (None, "sq8", "float16"):
            raise ValueError(f"a graph (hnsw) takes codes sq8 or float16, not {self.codes}: or take structure ivf")
        return self


def written_settings(meta: Mapping[str, str]) -> VectorSettings:
    """How the vectors of a knowledge base are to be searched, as it was written down."""
    return VectorSettings.model_validate(json.loads(meta.get("vectors", "{}")))
