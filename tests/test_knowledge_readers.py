"""Several processes at one knowledge base: a second writer is told who writes, a reader sees one generation, whole."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from llmkit.encoders.hashing import HashingEncoder
from llmkit.errors import KnowledgeError
from llmkit.knowledge.knowledge_base import KnowledgeBase
from llmkit.knowledge.local.vectors import segments
from llmkit.types import Document

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs kill")

WRITER = """
import sys
from pathlib import Path
from llmkit.knowledge.knowledge_base import KnowledgeBase
from llmkit.types import Document
kb, stop = KnowledgeBase.open(sys.argv[1]), Path(sys.argv[2])
while not stop.exists():
    n = kb.generation + 1
    kb.add([Document(f"d{i}", f"Round {n}, place {i}, word w{n}x{i}.") for i in range(4)])
    if n % 7 == 0:
        kb.compact(keep=1)
print(kb.generation)
"""

READER = """
import json, sys, time
from pathlib import Path
from llmkit.knowledge.knowledge_base import KnowledgeBase
stop, seen, slowest = Path(sys.argv[2]), [], 0.0
with KnowledgeBase.open(sys.argv[1]) as kb:
    question = kb.encoder.encode_queries(["place"])
    while not stop.exists():
        began = time.perf_counter()
        kb.refresh()
        words, _ = kb.search_bm25(["place"], 9)[0]
        near, _ = kb.search_dense(question, 9)[0]
        slowest = max(slowest, time.perf_counter() - began)
        live = kb.live_rows().tolist()
        if not live:
            continue  # compacted away since
        assert sorted(near.tolist()) == live, ("vectors", kb.generation, near, live)
        assert sorted(words.tolist()) == live, ("words", kb.generation, words, live)
        texts = {chunk.text for chunk in kb.chunks(live)}
        assert len(texts) == 4 and len({text.split(",")[0] for text in texts}) == 1, texts
        seen.append(kb.generation)
print(json.dumps({"seen": len(seen), "generations": len(set(seen)), "ordered": seen == sorted(seen), "slowest": slowest}))
"""


def start(script, *arguments, **named):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **named
    )


@pytest.mark.slow
def test_readers_see_one_generation_whole_and_wait_for_nobody(tmp_path):
    with KnowledgeBase.create(tmp_path / "kb", encoder=HashingEncoder()) as kb:
        kb.add([Document(f"d{i}", f"Round 1, place {i}, word w1x{i}.") for i in range(4)])
    stop = tmp_path / "stop"
    writer = start(WRITER, tmp_path / "kb", stop)
    readers = [start(READER, tmp_path / "kb", stop) for _ in range(3)]
    with KnowledgeBase.open(tmp_path / "kb") as kb:
        until = time.monotonic() + 90
        while kb.store.catalog.generation() < 25 and writer.poll() is None and time.monotonic() < until:
            time.sleep(0.05)
    stop.touch()
    for reader in readers:
        out, error = reader.communicate(timeout=60)
        assert reader.returncode == 0, error[-2000:]
        told = json.loads(out)
        assert told["generations"] > 3
        assert told["ordered"]
    out, error = writer.communicate(timeout=60)
    assert writer.returncode == 0, error[-2000:]
    assert int(out) >= 25


def test_a_compaction_while_the_vectors_are_opened_mixes_nothing(tmp_path, monkeypatch):
    """The files of one commit and the dead rows of the next would show what is gone; the test above met it by chance."""
    encoder = HashingEncoder()
    with KnowledgeBase.create(tmp_path / "kb", encoder=encoder) as writer:
        for n in range(1, 7):
            writer.add([Document(f"d{i}", f"Round {n}, place {i}.") for i in range(4)])
        reader = KnowledgeBase.open(tmp_path / "kb", encoder=encoder)
        real, calls = segments.read, []

        def slow(*arguments):
            found = real(*arguments)
            if not calls:
                calls.append(1)
                writer.compact()
            return found

        monkeypatch.setattr("llmkit.knowledge.local.vectors.load.segments.read", slow)
        near, _ = reader.search_dense(encoder.encode_queries(["place"]), 9)[0]
        assert calls
        assert len(near) == 4
        assert sorted(near.tolist()) == reader.live_rows().tolist()
        reader.close()


HOLDER = """
import sys, time
from pathlib import Path
from llmkit.knowledge.local.lock import writer_lock
with writer_lock(Path(sys.argv[1]), "ingest notes"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_writer_is_told_who_writes_since_when_and_what(tmp_path):
    with KnowledgeBase.create(tmp_path / "kb", encoder=HashingEncoder()) as kb:
        holder = start(HOLDER, tmp_path / "kb")
        try:
            assert holder.stdout.readline() == "held\n"
            host = socket.gethostname()
            with pytest.raises(
                KnowledgeError,
                match=rf"is busy: it is being written by process {holder.pid} on {host} since 20\S+ \(ingest notes\)",
            ):
                kb.add([Document("a", "text")])
            assert kb.search_dense(kb.encoder.encode_queries(["text"]), 1)[0][0].tolist() == []
        finally:
            holder.send_signal(signal.SIGKILL)
            holder.communicate()
        kb.add([Document("a", "text")])  # the system freed what the dead one held
        assert np.array_equal(kb.store.catalog.live_rows(1), [1])
        assert not (tmp_path / "kb" / "writer.json").exists()
