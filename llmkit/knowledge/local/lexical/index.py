"""BM25 over the chunks, in a tantivy index that follows the catalogue.

The index holds terms and rows, no text. The file ``generation`` beside it names the generation that the index has
reached. After a crash the index is brought up to date from the catalogue; applying a change twice has no effect.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmkit.errors import KnowledgeError
from llmkit.knowledge.analyzers import ENGLISH, prepared, word_analyzer
from llmkit.knowledge.local.vectors.segments import sync_folder

_ANALYZER = "llmkit"
_NAMED = 2_000  # more allowed rows than this are never asked for by name: hits are checked, in growing slices
_DEAR = 10  # hits to look at for each allowed row, from which on naming the rows is faster
_MORE = 16  # hits beyond k that are looked at first, for ties
_HEAP = 64 << 20

Found = tuple[NDArray[np.int64], NDArray[np.float32]]


class LexicalSearcher:
    """The BM25 index as one commit left it. Safe to share between threads: later commits do not change it."""

    def __init__(self, searcher: Any, schema: Any, analyzer: Any, language: str, folder: Path | None) -> None:
        self.language = language
        self._folder = folder
        self._searcher, self._schema, self._analyzer = searcher, schema, analyzer
        self._total = max(1, searcher.num_docs)

    def rows(self) -> NDArray[np.int64]:
        """Every row in the index, ascending."""
        import tantivy

        with _reported(self._folder, "is damaged"):
            hits = self._searcher.search(tantivy.Query.all_query(), max(1, self._searcher.num_docs), count=False).hits
            return np.sort(self._rows([address for _, address in hits]))

    def search(self, queries: Sequence[str], k: int, allowed: NDArray[np.int64] | None = None) -> list[Found]:
        """Rows and BM25 scores of the k best chunks for each query that share a word with it, best first.

        Of equal scores the lower row comes first; with `allowed` these are the k best of the allowed rows. Query text
        is only ever words: no operator in it is obeyed.

        Raises:
            KnowledgeError: the index is damaged.
        """
        if allowed is not None and len(allowed) == 0:
            return [_none() for _ in queries]
        permitted = allowed
        if allowed is not None and (allowed[1:] < allowed[:-1]).any():
            permitted = np.sort(allowed)
        named = cache(lambda: self._named(permitted))  # made once, and only if some query needs it
        with _reported(self._folder, "is damaged"):
            return [self._one(query, k, permitted, named) for query in queries]

    def _named(self, rows: NDArray[np.int64] | None) -> Any:
        """A query for these rows: a term each, which is found faster than a set of terms."""
        from tantivy import Occur, Query

        some = [] if rows is None else rows.tolist()
        terms = [(Occur.Should, Query.term_query(self._schema, "row", row, "basic")) for row in some]
        return Query.const_score_query(Query.boolean_query(terms), 0.0)

    def _one(self, query: str, k: int, permitted: NDArray[np.int64] | None, named: Callable[[], Any]) -> Found:
        from tantivy import Occur, Query

        terms = dict.fromkeys(self._analyzer.analyze(prepared(query, self.language)))
        if not terms:
            return _none()
        words: Any = Query.boolean_query(
            [(Occur.Should, Query.term_query(self._schema, "body", term, "freq")) for term in terms]
        )
        few = permitted is not None and len(permitted) <= _NAMED
        if permitted is not None and few and 1.5 * k * self._total > _DEAR * len(permitted) ** 2:
            found = None  # too many hits would be looked at for each row that passes
        else:
            found = self._best(words, k, permitted, patient=not few)
        if found is None:
            found = self._best(Query.boolean_query([(Occur.Must, words), (Occur.Must, named())]), k, None)
        return found or _none()

    def _best(self, words: Any, k: int, permitted: NDArray[np.int64] | None, *, patient: bool = True) -> Found | None:
        """The k best hits that are permitted, from a slice of the hits that grows until it is sure to hold them.

        None where the first slice does not, and one is not `patient`.
        """
        share = 1.0 if permitted is None else min(1.0, len(permitted) / self._total)
        wanted = min(self._total, int(1.5 * k / share if share < 1 else k) + _MORE)
        while True:
            hits = self._searcher.search(words, wanted, count=False).hits
            scores = np.fromiter((score for score, _ in hits), dtype=np.float32, count=len(hits))
            found = self._rows([address for _, address in hits])
            last = scores[-1] if len(hits) else 0.0
            if permitted is not None:
                keep = _among(found, permitted)
                found, scores = found[keep], scores[keep]
            order = best_first(scores, found)[:k]
            every = len(hits) < wanted or wanted >= self._total
            if every or (len(order) == k and scores[order[-1]] > last):
                return found[order], scores[order]  # what was not looked at scores less
            if not patient:
                return None
            wanted = min(self._total, 4 * wanted)

    def _rows(self, addresses: list[Any]) -> NDArray[np.int64]:
        values = self._searcher.fast_field_values("row", addresses) if addresses else []
        if None in values:
            raise ValueError("an entry has no row")
        return np.asarray(values, dtype=np.int64)


class LexicalIndex:
    """The BM25 index in a folder, to write to; one language's analyzer makes its terms."""

    def __init__(self, folder: Path | None, language: str = ENGLISH) -> None:
        """Open or make the index in a folder; without one, in memory.

        Args:
            folder: where it lies.
            language: ISO 639-1 code; the one the index was made with.
        """
        import tantivy

        self.folder = folder
        self.language = language
        self._reached = 0
        builder = tantivy.SchemaBuilder()
        builder.add_integer_field("row", stored=False, indexed=True, fast=True)
        builder.add_text_field("body", stored=False, tokenizer_name=_ANALYZER, index_option="freq")
        self._schema = builder.build()
        self._analyzer = word_analyzer(language)
        with _reported(folder, "cannot be read, delete that folder and it will be rebuilt"):
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
            self._index = tantivy.Index(self._schema, path=str(folder) if folder else None)
            self._index.register_tokenizer(_ANALYZER, self._analyzer)
            self._index.config_reader("Manual")
        self.reload()

    @property
    def generation(self) -> int:
        """The generation of the catalogue this index has reached; 0 for a new one."""
        return self._reached if self.folder is None else reached(self.folder)

    def update(
        self, generation: int, died: Iterable[int], born: Iterable[tuple[int, str]], *, heap: int = _HEAP
    ) -> None:
        """Take rows out, put (row, text) in, and name the generation reached. Doing it twice changes nothing.

        Raises:
            KnowledgeError: the index cannot be written; what a killed writer left in its way is one reason.
        """
        import tantivy

        with _reported(self.folder, "cannot be written"):
            writer = self._index.writer(heap, 1)
            try:
                for row in died:
                    writer.delete_documents_by_term("row", row)
                for row, text in born:
                    writer.delete_documents_by_term("row", row)
                    document = tantivy.Document()
                    document.add_integer("row", row)
                    document.add_text("body", prepared(text, self.language))
                    writer.add_document(document)
                writer.commit()
            finally:
                writer.wait_merging_threads()
        self._reached = generation
        if self.folder is not None:
            _mark(self.folder, generation)
        self.reload()

    def reload(self) -> None:
        """Let :attr:`searcher` be of what was committed last.

        Raises:
            KnowledgeError: it cannot be read; a writer that makes the index anew is one reason.
        """
        with _reported(self.folder, "cannot be read"):
            self._index.reload()
            self.searcher = LexicalSearcher(
                self._index.searcher(), self._schema, self._analyzer, self.language, self.folder
            )

    def rows(self) -> NDArray[np.int64]:
        """Every row in the index, ascending."""
        return self.searcher.rows()

    def search(self, queries: Sequence[str], k: int, allowed: NDArray[np.int64] | None = None) -> list[Found]:
        """Rows and BM25 scores; see :meth:`LexicalSearcher.search`."""
        return self.searcher.search(queries, k, allowed)


@contextmanager
def _reported(folder: Path | None, what: str) -> Iterator[None]:
    """What tantivy says of files it cannot read or write, a panic of Rust's included, as an error of ours."""
    try:
        yield
    except BaseException as error:
        if isinstance(error, ValueError) or type(error).__name__ == "PanicException":
            raise KnowledgeError(f"the lexical index {folder} {what}: {error}") from error
        raise


def reached(folder: Path) -> int:
    """The generation of the catalogue that the index in a folder has reached, without opening it; 0: none."""
    try:
        return int((folder / "generation").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0


def rebuild_from_nothing(folder: Path, language: str = ENGLISH) -> LexicalIndex:
    """An empty index in place of whatever stood there."""
    if folder.is_dir():  # its mark first: it must never stand beside an index that is not the one it speaks of
        (folder / "generation").unlink(missing_ok=True)
        sync_folder(folder)
    shutil.rmtree(folder, ignore_errors=True)
    return LexicalIndex(folder, language)


def best_first(scores: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Positions from the highest score down, equal ones in the order of their rows."""
    return np.lexsort((rows, -scores))


def _among(found: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of these are among the rows, ascending."""
    at = np.minimum(np.searchsorted(rows, found), len(rows) - 1)
    inside: NDArray[np.bool_] = rows[at] == found
    return inside


def _mark(folder: Path, generation: int) -> None:
    """Name the generation reached, once tantivy's commit is on the disk: a mark without it would hide its loss."""
    sync_folder(folder)
    draft = folder / "generation.tmp"
    with draft.open("w", encoding="ascii") as file:
        file.write(str(generation))
        file.flush()
        os.fsync(file.fileno())
    draft.replace(folder / "generation")
    sync_folder(folder)


def _none() -> Found:
    return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)
