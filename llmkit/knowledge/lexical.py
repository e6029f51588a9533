"""BM25 over the chunks, in a tantivy index that follows the catalogue.

The index holds no text, only terms and rows. ``generation`` beside it names the generation it has reached; what a
crash left behind is caught up from the catalogue, which changes nothing where it had been written already.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmkit.errors import KnowledgeError
from llmkit.knowledge.segments import sync_folder

_ANALYZER = "llmkit"
_CJK_RUN = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]+")
_SET = 50_000  # more allowed rows than this are checked after the search, in growing slices, not inside it
_HEAP = 64 << 20
_MAGIC = 1337  # the last four bytes of a file of tantivy's

Found = tuple[NDArray[np.int64], NDArray[np.float32]]


def spaced(text: str) -> str:
    """The text with Chinese and Japanese runs as overlapping pairs of characters, so that parts of words match."""
    if _CJK_RUN.search(text) is None:
        return text
    return _CJK_RUN.sub(lambda run: f" {' '.join(_pairs(run.group()))} ", text)


class LexicalIndex:
    """Terms of the chunks; English words are stemmed, Chinese and Japanese are indexed by pairs of characters."""

    def __init__(self, folder: Path | None) -> None:
        """Open or make the index in a folder; without one, in memory."""
        import tantivy

        self.folder = folder
        self._reached = 0
        builder = tantivy.SchemaBuilder()
        builder.add_integer_field("row", stored=False, indexed=True, fast=True)
        builder.add_text_field("body", stored=False, tokenizer_name=_ANALYZER, index_option="freq")
        self._schema = builder.build()
        self._analyzer = (
            tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple())
            .filter(tantivy.Filter.remove_long(64))
            .filter(tantivy.Filter.lowercase())
            .filter(tantivy.Filter.stemmer("english"))
            .build()
        )
        with _told(folder, "cannot be read, delete that folder and it will be rebuilt"):
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
            self._index = tantivy.Index(self._schema, path=str(folder) if folder else None)
            self._index.register_tokenizer(_ANALYZER, self._analyzer)
            self._index.config_reader("Manual")
        self.reload()

    @property
    def generation(self) -> int:
        """The generation of the catalogue this index has reached; 0 for a new one."""
        if self.folder is None:
            return self._reached
        try:
            return int((self.folder / "generation").read_text(encoding="ascii"))
        except (OSError, ValueError):
            return 0

    def update(self, generation: int, died: Iterable[int], born: Iterable[tuple[int, str]]) -> None:
        """Take rows out, put (row, text) in, and name the generation reached. Doing it twice changes nothing.

        Raises:
            KnowledgeError: the index cannot be written; what a killed writer left in its way is one reason.
        """
        import tantivy

        with _told(self.folder, "cannot be written"):
            writer = self._index.writer(_HEAP, 1)
            try:
                for row in died:
                    writer.delete_documents_by_term("row", row)
                for row, text in born:
                    writer.delete_documents_by_term("row", row)
                    document = tantivy.Document()
                    document.add_integer("row", row)
                    document.add_text("body", spaced(text))
                    writer.add_document(document)
                writer.commit()
            finally:
                writer.wait_merging_threads()
        self._reached = generation
        if self.folder is not None:
            _mark(self.folder, generation)
        self.reload()

    def reload(self) -> None:
        """See what was committed last.

        Raises:
            KnowledgeError: it cannot be read; a writer that makes the index anew is one reason.
        """
        with _told(self.folder, "cannot be read"):
            self._index.reload()
            self._searcher = self._index.searcher()

    def rows(self) -> NDArray[np.int64]:
        """Every row in the index, ascending."""
        import tantivy

        with _told(self.folder, "is damaged"):
            hits = self._searcher.search(tantivy.Query.all_query(), max(1, self._searcher.num_docs), count=False).hits
            return np.sort(self._rows([address for _, address in hits]))

    def search(self, queries: Sequence[str], k: int, allowed: NDArray[np.int64] | None = None) -> list[Found]:
        """Rows and BM25 scores of the k best chunks for each query that share a word with it, best first.

        Query text is only ever words: no operator in it is obeyed.

        Raises:
            KnowledgeError: the index is damaged.
        """
        if allowed is not None and len(allowed) == 0:
            return [_none() for _ in queries]
        inside = allowed is not None and len(allowed) <= _SET
        permitted = None if allowed is None or inside else np.sort(allowed)
        with _told(self.folder, "is damaged"):
            return [self._one(query, k, allowed if inside else None, permitted) for query in queries]

    def _one(self, query: str, k: int, inside: NDArray[np.int64] | None, permitted: NDArray[np.int64] | None) -> Found:
        from tantivy import Occur, Query

        terms = dict.fromkeys(self._analyzer.analyze(spaced(query)))
        if not terms:
            return _none()
        words: Any = Query.boolean_query(
            [(Occur.Should, Query.term_query(self._schema, "body", term, "freq")) for term in terms]
        )
        if inside is not None:
            rows = Query.term_set_query(self._schema, "row", inside.tolist())
            words = Query.boolean_query([(Occur.Must, words), (Occur.Must, Query.const_score_query(rows, 0.0))])
        wanted = k
        while True:
            hits = self._searcher.search(words, wanted, count=False).hits
            scores = np.fromiter((score for score, _ in hits), dtype=np.float32, count=len(hits))
            found = self._rows([address for _, address in hits])
            if permitted is None:
                return found, scores
            keep = np.isin(found, permitted)
            if keep.sum() >= k or len(hits) < wanted:
                return found[keep][:k], scores[keep][:k]
            wanted *= 4

    def _rows(self, addresses: list[Any]) -> NDArray[np.int64]:
        values = self._searcher.fast_field_values("row", addresses) if addresses else []
        if None in values:
            raise ValueError("an entry has no row")
        return np.asarray(values, dtype=np.int64)


def damaged_files(folder: Path) -> list[str]:
    """Names of tantivy's files whose bytes are not those that their footers' checksums were made of.

    Only those that the last commit names: a crash leaves others, half written, and nobody reads them.
    """
    try:
        segments = json.loads((folder / "meta.json").read_text(encoding="utf-8"))["segments"]
        deletes = {one["segment_id"].replace("-", ""): (one["deletes"] or {}).get("opstamp") for one in segments}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ["meta.json"]
    bad = []
    for path in sorted(folder.iterdir()):
        segment, *rest = path.name.split(".")
        if segment not in deletes or (rest[-1:] == ["del"] and rest[0] != str(deletes[segment])):
            continue
        data = path.read_bytes()
        try:
            size, magic = struct.unpack("<II", data[-8:])
            footer = json.loads(data[-8 - size : -8])
            whole = magic == _MAGIC and footer["crc"] == zlib.crc32(data[: -8 - size])
        except (struct.error, ValueError, KeyError, TypeError):
            whole = False
        if not whole:
            bad.append(path.name)
    return bad


@contextmanager
def _told(folder: Path | None, what: str) -> Iterator[None]:
    """What tantivy says of files it cannot read or write, a panic of Rust's included, as an error of ours."""
    try:
        yield
    except BaseException as error:
        if isinstance(error, ValueError) or type(error).__name__ == "PanicException":
            raise KnowledgeError(f"the lexical index {folder} {what}: {error}") from error
        raise


def rebuild_from_nothing(folder: Path) -> LexicalIndex:
    """An empty index in place of whatever stood there."""
    if folder.is_dir():  # its mark first: it must never stand beside an index that is not the one it speaks of
        (folder / "generation").unlink(missing_ok=True)
        sync_folder(folder)
    shutil.rmtree(folder, ignore_errors=True)
    return LexicalIndex(folder)


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


def _pairs(run: str) -> list[str]:
    return [run[i : i + 2] for i in range(len(run) - 1)] or [run]


def _none() -> Found:
    return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)
