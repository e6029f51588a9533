"""A writer that dies at its n-th moment: before or after any statement, sync, rename or deletion it makes.

    python crash_writer.py BASE FOLDER FIRST LAST

Copies the knowledge base BASE to FOLDER/N for each N and lets a child of its own die there with no chance to clean up.
Prints how many moments there are when one child lives to the end.

    python crash_writer.py --tell KB TOLD

Makes the knowledge base KB, works, and appends to the file TOLD each generation that it was told of.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from llmkit.encoders.hashing import HashingEncoder
from llmkit.knowledge.knowledge_base import KnowledgeBase
from llmkit.knowledge.local.catalog import Catalog
from llmkit.knowledge.vector_settings import VectorSettings
from llmkit.types import Document


def start(path: Path) -> KnowledgeBase:
    """A small one to begin with."""
    kb = KnowledgeBase.create(path, encoder=HashingEncoder())
    words = zip("abc", ("apple", "pear", "plum"), strict=True)
    kb.add([Document(name, f"The {word} of garden {name}.") for name, word in words])
    return kb


def steps(kb: KnowledgeBase) -> Iterator[None]:
    """Every kind of change, each at least once; what it makes is a function of nothing else."""
    yield kb.add([Document("a", "The apple of garden one. New."), Document("d", "The quince of garden four.")])
    yield kb.delete(["b"])
    yield kb.build_index(VectorSettings(recall=1))
    yield kb.add([Document(f"m{n}", f"Melon number {n} by the river.") for n in range(6)])
    yield kb.rollback(1)
    yield kb.add([Document("e", "The bridge of stone.")])
    yield kb.forget(["c"])
    yield kb.compact(keep=2)
    yield kb.add([Document("f", "A tower by the bridge.")])


def work(kb: KnowledgeBase) -> None:
    """All of the steps."""
    for _ in steps(kb):
        pass


def tell(path: Path, told: Path) -> None:
    """Work in several sessions, and note what was said to have happened as soon as it was said."""
    with told.open("w", buffering=1) as note:
        with start(path) as kb:
            note.write(f"{kb.generation}\n")
        with KnowledgeBase.open(path) as kb:
            for _ in steps(kb):
                note.write(f"{kb.generation}\n")
        (path / "lexical" / "meta.json").write_text("damaged")
        for number in range(3):  # the log of SQLite is folded in when a session ends
            with KnowledgeBase.open(path) as kb:
                kb.search_bm25(["bridge"], 3)
                kb.add([Document(f"s{number}", f"Session {number} and its lantern.")])
                note.write(f"{kb.generation}\n")


class Clock:
    """Counts moments and dies at one of them."""

    def __init__(self, last: int) -> None:
        self.count, self.last = 0, last

    def tick(self, *_: object) -> None:
        self.count += 1
        if self.count == self.last:
            os._exit(9)

    def around(self, function):
        def called(*arguments, **named):
            self.tick()
            found = function(*arguments, **named)
            self.tick()
            return found

        return called


def run(path: Path, last: int) -> int:
    """Open, work, and die at moment `last`; returns how many there were otherwise."""
    clock = Clock(last)
    opened = Catalog.__init__

    def watched(self, *arguments, **named):
        opened(self, *arguments, **named)
        self._db.set_trace_callback(clock.tick)

    Catalog.__init__ = watched
    for name in ("fsync", "replace", "unlink", "rmdir", "truncate", "mkdir"):
        setattr(os, name, clock.around(getattr(os, name)))
    with KnowledgeBase.open(path) as kb:
        work(kb)
    return clock.count


def main() -> None:
    if sys.argv[1] == "--tell":
        tell(Path(sys.argv[2]), Path(sys.argv[3]))
        return
    base, folder, first, last = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    HashingEncoder().encode_passages(["warm"])
    for n in range(first, last):
        shutil.copytree(base, folder / str(n))
        child = os.fork()
        if child == 0:
            count = run(folder / str(n), n)
            (folder / "moments").write_text(str(count))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        if code == 0:
            sys.stdout.write(f"{n}\n")
            return
        if code != 9:
            raise SystemExit(f"moment {n}: the writer ended with {code}")


if __name__ == "__main__":
    main()
