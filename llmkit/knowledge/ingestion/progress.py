"""What an ingest tells while it runs, and what it did."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from llmkit import notebook


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an ingest has come."""

    files: int
    total: int
    chunks: int
    encoded: int
    name: str
    """The file that was finished last."""
    status: str


@dataclass
class IngestSummary:
    """What an ingest did."""

    files: int = 0
    """Files looked at."""
    documents: int = 0
    """Documents added or replaced."""
    chunks: int = 0
    """Chunks made of them."""
    encoded: int = 0
    """Texts the encoder was given."""
    reused: int = 0
    """Chunks whose vector was here already."""
    given: int = 0
    """Texts whose vector came with them."""
    unchanged: int = 0
    """Files whose content is what it was."""
    removed: int = 0
    """Documents that are gone."""
    duplicates: int = 0
    """Documents that are near duplicates of others: kept, not indexed."""
    failed: int = 0
    """Files that could not be read."""
    skipped: int = 0
    """Files left out on purpose."""
    generation: int = 0
    seconds: float = 0.0
    statuses: dict[str, int] = field(default_factory=dict)
    """Files by status."""
    problems: list[tuple[str, str, str]] = field(default_factory=list)
    """(file, status, reason) of what did not go through; the first thousand."""

    def _repr_html_(self) -> str:
        """Tables for a notebook: the counts, and the files that did not go through."""
        counts = notebook.mapping({**asdict(self), "problems": ""}, caption="Ingest")
        return counts + (notebook.table(("file", "status", "reason"), self.problems) if self.problems else "")
