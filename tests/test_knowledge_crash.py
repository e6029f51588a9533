"""A writer is killed at every moment of its work; what it committed is there, and nothing else."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from crash_writer import start, work

from llmkit.knowledge.knowledge_base import KnowledgeBase
from llmkit.retrieval.dense_and_bm25 import BM25, Dense
from llmkit.types import Document

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="needs fork and kill"),
    pytest.mark.slow,
    pytest.mark.timeout(600),
]
HERE = Path(__file__).resolve().parent


def make(path):
    start(path).close()


def contents(kb):
    return {name: kb.document(name).text for name in kb.versions()}


def by_text(kb):
    """Every document is found by its own words, by both ways of searching, and none else is."""
    for name, text in contents(kb).items():
        for retriever in (Dense(), BM25()):
            hits = retriever.retrieve(kb, [text], 20)[0]
            assert hits[0].chunk.document == name, (retriever.type, name)
            assert {hit.chunk.document for hit in hits} <= set(contents(kb))


def test_every_moment_of_a_writers_life(tmp_path):
    make(tmp_path / "base")
    crashed = tmp_path / "crashed"
    crashed.mkdir()
    script = [sys.executable, str(HERE / "crash_writer.py"), str(tmp_path / "base"), str(crashed), "1", "100000"]
    done = subprocess.run(
        script, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    )
    assert done.returncode == 0, done.stderr
    moments = int(done.stdout) - 1
    assert moments > 200
    lived = contents_of_each_commit(tmp_path)
    for n in range(1, moments + 1):
        with KnowledgeBase.open(crashed / str(n)) as kb:
            assert contents(kb) == lived[kb.generation], (n, kb.generation)
            by_text(kb)
            kb.add([Document("after", f"Written after crash {n}.")])
            assert kb.verify() == [], n
            assert contents(kb) == {**lived[kb.generation - 1], "after": f"Written after crash {n}."}


def contents_of_each_commit(tmp_path):
    """What each generation held right after it was committed."""
    make(tmp_path / "slow")
    seen = {}
    with KnowledgeBase.open(tmp_path / "slow") as kb:
        seen[kb.generation] = contents(kb)
        commit = type(kb.store.catalog).commit

        @contextmanager
        def noting(self, note):
            with commit(self, note) as found:
                yield found
            live = self.rows("SELECT id, text FROM documents WHERE died IS NULL")
            seen[self.generation()] = dict(live)

        type(kb.store.catalog).commit = noting
        try:
            work(kb)
        finally:
            type(kb.store.catalog).commit = commit
    return seen


def test_killed_from_outside_at_any_time(tmp_path):
    """SIGKILL while adding in a loop, in native code or out of it: every generation that was told is there."""
    make(tmp_path / "kb")
    script = (
        "import sys\n"
        "from llmkit.knowledge.knowledge_base import KnowledgeBase\n"
        "from llmkit.types import Document\n"
        "kb = KnowledgeBase.open(sys.argv[1])\n"
        "while True:\n"
        "    n = kb.generation\n"
        "    kb.add([Document(f'g{n % 40}', f'Fruit {n} in garden {n * 7}. ' * 3)])\n"
        "    print(kb.generation, flush=True)\n"
    )
    chance = random.Random(4)
    told = 1
    for _ in range(25):
        child = subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path / "kb")], stdout=subprocess.PIPE, text=True
        )
        child.stdout.readline()
        time.sleep(chance.random() * 0.25)
        os.kill(child.pid, signal.SIGKILL)
        out, _ = child.communicate()
        told = max([told, *(int(line) for line in out.split("\n") if line.strip().isdigit())])
        with KnowledgeBase.open(tmp_path / "kb") as kb:
            assert kb.generation >= told
            by_text(kb)
            kb.delete(["nobody"])
    with KnowledgeBase.open(tmp_path / "kb") as kb:
        kb.add([Document("last", "The last one of all.")])
        assert kb.verify() == []
