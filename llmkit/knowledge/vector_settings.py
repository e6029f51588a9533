"""What a knowledge base was told about its vectors."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

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
