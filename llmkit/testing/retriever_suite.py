"""What any retriever must do. Inherit it and give the fixtures ``retriever`` and ``kb``.

``kb`` is a knowledge base that :func:`fill` has filled.
"""

from __future__ import annotations

from llmkit.knowledge.filters.where import parse
from llmkit.knowledge.knowledge_base import KnowledgeBase
from llmkit.protocols import Retriever
from llmkit.types import Document

FRUIT = ["apple", "pear", "plum", "cherry", "quince", "melon"]


def fill(kb: KnowledgeBase) -> None:
    """Sixty documents about fruit; ``n`` counts them, ``fruit`` names their fruit."""
    kb.add(
        Document(
            f"d{n}",
            f"The {FRUIT[n % 6]} of garden {n} is picked in week {n % 10}.",
            metadata={"n": n, "fruit": FRUIT[n % 6]},
        )
        for n in range(60)
    )


class RetrieverSuite:
    """Conformance to :class:`llmkit.protocols.Retriever`."""

    queries = ("Which garden has the quince?", "plum in week 2")

    def test_it_is_a_retriever(self, retriever: Retriever) -> None:
        """Protocol."""
        assert isinstance(retriever, Retriever)

    def test_at_most_k_best_first_each_once(self, retriever: Retriever, kb: KnowledgeBase) -> None:
        """Order and number."""
        for k in (1, 3, 10):
            for hits in retriever.retrieve(kb, self.queries, k):
                assert len(hits) == k
                assert len({hit.chunk.id for hit in hits}) == k
                if getattr(retriever, "type", "") != "mmr":  # its scores are margins at the time of picking
                    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)

    def test_it_finds_what_is_asked_for(self, retriever: Retriever, kb: KnowledgeBase) -> None:
        """The best hit shares the rare word."""
        for hits, word in zip(retriever.retrieve(kb, self.queries, 3), ("quince", "plum"), strict=True):
            assert word in hits[0].chunk.text

    def test_a_filter_holds_and_shortens_nothing(self, retriever: Retriever, kb: KnowledgeBase) -> None:
        """Exactly the allowed chunks, as many as there are."""
        where = parse("n >= 10 and n < 13")
        for hits in retriever.retrieve(kb, self.queries, 10, where):
            assert {hit.chunk.document for hit in hits} == {"d10", "d11", "d12"}
        for hits in retriever.retrieve(kb, self.queries, 10, parse("n > 1000")):
            assert hits == []

    def test_many_queries_are_each_one_alone(self, retriever: Retriever, kb: KnowledgeBase) -> None:
        """Batch equals single, and a run repeats itself."""
        together = [[hit.chunk.id for hit in hits] for hits in retriever.retrieve(kb, self.queries, 5)]
        alone = [[hit.chunk.id for hit in retriever.retrieve(kb, [query], 5)[0]] for query in self.queries]
        assert together == alone == [[h.chunk.id for h in hits] for hits in retriever.retrieve(kb, self.queries, 5)]
        assert retriever.retrieve(kb, [], 5) == []

    def test_k_beyond_the_collection_gives_all_that_match(self, retriever: Retriever, kb: KnowledgeBase) -> None:
        """No padding, no repetition."""
        (hits,) = retriever.retrieve(kb, ["garden"], 1000)
        assert len(hits) == len({hit.chunk.id for hit in hits}) == 60
