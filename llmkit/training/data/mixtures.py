"""Training data made from other training data: several sources as one, and a part of a source."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from llmkit.errors import DataError
from llmkit.evaluation.tasks.datasets import Documents
from llmkit.evaluation.tasks.rows import BadRow
from llmkit.part import Part
from llmkit.registry import one_of
from llmkit.training.data.examples import Example
from llmkit.training.data.formats import Examples
from llmkit.training.data.load import held_out

Source = Annotated[Any, one_of("examples")]


class Mixture(Part):
    """Several sources one after the other; their corpora together are one corpus."""

    family: ClassVar[str] = "examples"
    type: ClassVar[str] = "several"

    sources: tuple[Source, ...] = Field(min_length=1)
    """Training data of any type."""

    def examples(self) -> Examples:
        """Those of every source, in order."""
        for source in self.sources:
            yield from source.examples()

    def documents(self) -> Documents:
        """Every document once.

        Raises:
            DataError: two texts have one id, so that a judgement could mean either.
        """
        seen: dict[str, str] = {}
        for source in self.sources:
            for item in source.documents():
                if isinstance(item, BadRow):
                    yield item
                elif item.id not in seen:
                    seen[item.id] = item.version
                    yield item
                elif seen[item.id] != item.version:
                    raise DataError(f"two documents of these sources have the id {item.id!r} and different texts")


class HeldOut(Part):
    """One side of a source that is split in two; questions that share a right passage are on the same side."""

    family: ClassVar[str] = "examples"
    type: ClassVar[str] = "held"

    source: Source
    """The source that is split."""
    part: Literal["train", "test"]
    """train: the side to learn from; test: the side that is held out."""
    share: float = Field(default=0.5, gt=0, lt=1)
    """Share of the examples that is held out."""
    seed: int = 0
    """Seed of the split. Both sides must use the same seed."""

    def examples(self) -> Examples:
        """Those of the side; bad rows with `train` alone, so that they are told once."""
        good: list[Example] = []
        for item in self.source.examples():
            if isinstance(item, Example):
                good.append(item)
            elif self.part == "train":
                yield item
        yield from held_out(good, self.share, self.seed)[self.part == "test"]

    def documents(self) -> Documents:
        """The whole corpus: what is held out is searched for among everything."""
        yield from self.source.documents()
