"""The power is cut: of what was not synced some is lost, some torn. What was committed is there all the same."""

from __future__ import annotations

import os
import random
import shutil
import sys
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest
from crash_writer import tell
from disk_model import Disk, record
from test_knowledge_crash import by_text, contents

from llmkit.errors import KnowledgeError
from llmkit.knowledge.knowledge_base import KnowledgeBase
from llmkit.knowledge.local.catalog import Catalog
from llmkit.types import Document

pytestmark = [
    pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace, which records every write"),
    pytest.mark.slow,
    pytest.mark.timeout(600),
]
HERE = Path(__file__).resolve().parent
CUTS = int(os.environ.get("LLMKIT_POWER_CUTS", "200"))
MODES = ("none", "ordered", "any", "any", "all")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Every write of a writer, the generations it told of, and what each of them held."""
    scratch = tmp_path_factory.mktemp("recorded")
    (scratch / "disk").mkdir()
    script = [
        sys.executable,
        str(HERE / "crash_writer.py"),
        "--tell",
        str(scratch / "disk/kb"),
        str(scratch / "disk/told"),
    ]
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
    return record(script, scratch / "disk"), scratch / "disk", lived(scratch / "again")


def lived(scratch):
    """What each generation held right after it was committed, and 0 when there was none."""
    scratch.mkdir()
    seen = {0: {}}
    commit = Catalog.commit

    @contextmanager
    def noting(self, note):
        with commit(self, note) as found:
            yield found
        seen[self.generation()] = dict(self.rows("SELECT id, text FROM documents WHERE died IS NULL"))

    Catalog.commit = noting
    try:
        tell(scratch / "kb", scratch / "told")
    finally:
        Catalog.commit = commit
    return seen


def test_the_recording_is_complete(recorded, tmp_path):
    """Played back to its end it gives every file of the folder, byte for byte: nothing was written unseen."""
    operations, folder, _ = recorded
    disk = Disk()
    for op in operations:
        disk.apply(op)
    disk.image(tmp_path / "image", random.Random(0), "all")
    made = {path.relative_to(folder): path for path in folder.rglob("*") if path.is_file()}
    found = {path.relative_to(tmp_path / "image"): path for path in (tmp_path / "image").rglob("*") if path.is_file()}
    assert made.keys() == found.keys()
    assert [str(name) for name in made if made[name].read_bytes() != found[name].read_bytes()] == []
    assert sum(op.kind == "sync" for op in operations) > 50


def test_after_a_power_cut_at_any_time(recorded, tmp_path):
    operations, _, held = recorded
    chance = random.Random(2014)
    changes = [moment for moment, op in enumerate(operations, 1) if op.kind != "seek"]
    cuts = Counter(chance.choices(changes, k=CUTS))
    disk, told, number = Disk(), 0, 0
    modes, failed = Counter(), []
    for moment, op in enumerate(operations, 1):
        disk.apply(op)
        if op.path == "told" and op.kind == "write":
            told = int(op.data)
        for _ in range(cuts[moment]):
            number += 1
            mode = MODES[number % len(MODES)]
            image = tmp_path / str(number)
            disk.image(image, chance, mode)
            for shared in image.rglob("*-shm"):
                shared.unlink()  # lives in memory
            if wrong := check(image / "kb", told, held):
                failed.append(f"cut {number} after operation {moment} ({op.kind} {op.path}), {mode}: {wrong}")
            modes[mode] += 1
            shutil.rmtree(image)
    assert min(modes.values()) >= CUTS // 5
    assert failed == [], f"{len(failed)} of {CUTS}:\n" + "\n".join(failed[:20])


def check(path, told, held):
    """What is wrong with a knowledge base after a cut; None where it is as it must be."""
    try:
        kb = KnowledgeBase.open(path)
    except KnowledgeError as error:
        return f"{told} was told, and now: {error}" if told else None
    with kb:
        try:
            assert kb.generation >= told
            assert contents(kb) == held[kb.generation]
            by_text(kb)
            kb.add([Document("after", "Written after the cut.")])
            assert kb.verify() == []
            assert contents(kb) == {**held[kb.generation - 1], "after": "Written after the cut."}
            by_text(kb)
        except Exception as error:
            return f"{told} told, {kb.generation} open: {type(error).__name__} {str(error)[:300]}"
    return None
