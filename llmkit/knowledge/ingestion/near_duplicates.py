"""Near duplicates: documents that share most of their wording with one that is indexed.

MinHash (Broder 1997, through datasketch) proposes candidates, and none is believed: the Jaccard similarity of the word
5-grams is counted exactly, so that nothing below the threshold is ever left out. What the hashes do not propose is
indexed: with the bands used here that is one pair in a few hundred just above the threshold, fewer further up.

It is whole documents that are compared, because versions, citations and the ledger are a document's: a chunk taken
out of its document would leave a hole in what `expand` reads. A near duplicate is kept with its text and is not
indexed; when its original goes, or changes, it is compared again and takes its place in the same commit. Documents that
different readers may read are never compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from llmkit.extras import optional
from llmkit.knowledge.store import NearDuplicate
from llmkit.text.words import words
from llmkit.types import Document

if TYPE_CHECKING:
    from datasketch import MinHash


_GRAM = 5  # words
_PERMUTATIONS = 128
_SCHEME = "affine32"
_TOP = 0.95  # bands for more than this are too few to be built
_MISS = 0.9  # of the error that is minimised, the share of pairs that are missed: candidates are checked anyway


@lru_cache(maxsize=64)
def grams(text: str) -> frozenset[str]:
    """The word 5-grams of a text, folded; all words as one where there are fewer; empty where there are none."""
    found = [word.text for word in words(text)]
    if not found:
        return frozenset()
    return frozenset(" ".join(found[i : i + _GRAM]) for i in range(max(1, len(found) - _GRAM + 1)))


def jaccard(one: str, other: str) -> float:
    """Similarity of two texts in [0, 1]: 5-grams that they share, of all that they have."""
    a, b = grams(one), grams(other)
    return len(a & b) / len(a | b) if a and b else 0.0


class NearDuplicates:
    """The signatures of the documents that are indexed, in memory while a writer works."""

    def __init__(self, signatures: Iterable[tuple[str, bytes]], threshold: float) -> None:
        """Index the (id, MinHash) of the documents that are there; `threshold`: least Jaccard similarity."""
        with optional():
            from datasketch import MinHashLSH

        self.threshold = threshold
        self._lsh: Any = MinHashLSH(threshold=min(threshold, _TOP), num_perm=_PERMUTATIONS, weights=(1 - _MISS, _MISS))
        self.signatures: dict[str, bytes] = {}
        """Of the documents added since this was opened, by id."""
        for name, stored in signatures:
            self._lsh.insert(name, _from_values(np.frombuffer(stored, dtype=np.uint32)))

    def candidates(self, document: Document) -> Iterator[str]:
        """Ids of documents that may be near duplicates, in order."""
        if grams(document.text):
            yield from sorted(name for name in self._lsh.query(_signature_of(document.text)) if name != document.id)

    def compare(self, document: Document, original: Document) -> NearDuplicate | None:
        """The original with its similarity, if the document is a near duplicate of it."""
        if document.access != original.access:
            return None
        similarity = jaccard(document.text, original.text)
        return NearDuplicate(original.id, original.version, similarity) if similarity >= self.threshold else None

    def add(self, document: Document) -> None:
        """Note a document that will be indexed, instead of an earlier version of it."""
        self.remove(document.id)
        if grams(document.text):
            made = _signature_of(document.text)
            self._lsh.insert(document.id, made)
            self.signatures[document.id] = np.asarray(made.hashvalues, dtype=np.uint32).tobytes()

    def remove(self, name: str) -> None:
        """Forget a document."""
        self.signatures.pop(name, None)
        if name in self._lsh:
            self._lsh.remove(name)


def _signature_of(text: str) -> MinHash:
    with optional():
        from datasketch import MinHash

    made = MinHash(num_perm=_PERMUTATIONS, seed=1, scheme=_SCHEME)
    made.update_batch([gram.encode("utf-8", "surrogatepass") for gram in grams(text)])
    return made


def _from_values(values: np.ndarray) -> MinHash:
    with optional():
        from datasketch import MinHash

    return MinHash(num_perm=_PERMUTATIONS, seed=1, hashvalues=values, scheme=_SCHEME)
