"""A writer that dies at its n-th moment: before or after any statement, sync, rename or deletion it makes.

    python crash_writer.py BASE FOLDER FIRST LAST

Copies the knowledge base BASE to FOLDER/N for each N and lets a child of its own die there with no chance to clean up.
Prints how many moments there are when one child lives to the end.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from llmkit.encoders.hashing import HashingEncoder
from llmkit.knowledge.base import KnowledgeBase
from llmkit.knowledge.catalog import Catalog
from llmkit.knowledge.indexing import build_index
from llmkit.knowledge.purge import compact, forget
from llmkit.knowledge.rollback import rollback
from llmkit.knowledge.vector_settings import VectorSettings
from llmkit.types import Document


def work(kb: KnowledgeBase) -> None:
    """Every kind of change, each at least once; what it makes is a function of nothing else."""
    kb.add([Document("a", "The apple of garden one. New."), Document("d", "The quince of garden four.")])
    kb.delete(["b"])
    build_index(kb, VectorSettings(recall=1))
    kb.add([Document(f"m{n}", f"Melon number {n} by the river.") for n in range(6)])
    rollback(kb, 1)
    kb.add([Document("e", "The bridge of stone.")])
    forget(kb, ["c"])
    compact(kb, keep=2)
    kb.add([Document("f", "A tower by the bridge.")])


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
