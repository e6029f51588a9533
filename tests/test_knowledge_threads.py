"""One knowledge base, many threads: every answer is that of one generation."""

from __future__ import annotations

import queue
import random
import threading
import time

import numpy as np
import pytest

from llmkit.encoders.hashing import HashingEncoder
from llmkit.knowledge.filters.where import parse
from llmkit.knowledge.knowledge_base import KnowledgeBase
from llmkit.knowledge.local.lexical.index import LexicalIndex
from llmkit.knowledge.store import SnapshotExpired
from llmkit.retrieval.dense_and_bm25 import BM25, Dense
from llmkit.retrieval.hybrid import Hybrid
from llmkit.types import Document

ENCODER = HashingEncoder(dim=64)
THINGS = ["pump", "mill", "gate", "crane", "kiln", "lathe", "press", "winch"]


def thing(name, n):
    return Document(name, f"The {THINGS[n % 8]} number {n} of hall {n % 5} is red.", metadata={"n": n})


@pytest.fixture
def kb(tmp_path):
    with KnowledgeBase.create(tmp_path / "kb", encoder=ENCODER, language="en") as kb:
        kb.add([thing(f"d{n}", n) for n in range(60)])
        yield kb


def together(*works):
    """Run each function in a thread of its own, and raise what the first of them raised."""
    errors = queue.SimpleQueue()

    def guarded(work):
        try:
            work()
        except BaseException as error:
            errors.put(error)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if not errors.empty():
        raise errors.get()


def add_and_search(kb, rounds):
    """One thread adds three documents and deletes one, two threads search until it is done."""
    done = threading.Event()

    def write():
        try:
            for n in range(rounds):
                kb.add([thing(f"e{n}-{i}", 100 + n * 3 + i) for i in range(3)])
                assert kb.delete([f"e{n}-0"]) == 1
        finally:
            done.set()

    def search(retriever):
        def run():
            while not done.is_set():
                for hits in retriever.retrieve(kb, ["Which pump is red?", "the mill of hall 3"], 5):
                    assert len(hits) == 5
                    assert len({hit.chunk.row for hit in hits}) == 5

        return run

    together(write, search(Dense()), search(BM25()))
    assert kb.count == 60 + 2 * rounds


def test_two_threads_search_while_a_third_writes(kb):
    add_and_search(kb, 12)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_threads_search_while_a_third_writes_a_thousand_times(kb):
    add_and_search(kb, 1000)


@pytest.mark.parametrize("rounds", [3, pytest.param(1000, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
def test_a_search_in_the_middle_of_a_commit_shows_the_generation_before_it(kb, monkeypatch, rounds):
    """The writer stops after its vectors were added to an index and before its BM25 index follows."""
    original = LexicalIndex.update
    for n in range(rounds):
        inside, go_on = threading.Event(), threading.Event()

        def slow(self, *args, inside=inside, go_on=go_on, **named):
            inside.set()
            go_on.wait(10)
            return original(self, *args, **named)

        monkeypatch.setattr(LexicalIndex, "update", slow)
        before, count = kb.generation, kb.count
        writer = threading.Thread(target=lambda n=n: kb.add([thing(f"m{n}-{i}", 500 + n * 3 + i) for i in range(3)]))
        writer.start()
        assert inside.wait(10)
        for retriever in (Dense(), BM25(), Hybrid()):
            hits = retriever.retrieve(kb, ["Which mill is red?"], count + 10)[0]
            assert not [hit for hit in hits if hit.chunk.document.startswith(f"m{n}-")]
        assert (kb.generation, kb.count) == (before, count)
        go_on.set()
        writer.join()
        monkeypatch.undo()
        assert (kb.generation, kb.count) == (before + 1, count + 3)
        assert len(Dense().retrieve(kb, ["Which mill is red?"], count + 10)[0]) == count + 3


def test_a_snapshot_stays_what_it_is_through_commits_and_a_compaction(kb):
    held = kb.snapshot()
    before = answers(held)
    kb.add([thing("d3", 900), thing("new", 901)])
    kb.delete(["d5"])
    assert answers(held) == before
    assert kb.snapshot() is not held
    assert answers(kb.snapshot()) != before
    kb.compact()  # it drops rows that `held` shows and the last generation does not
    with pytest.raises(SnapshotExpired, match=r"call refresh\(\) and search again"):
        answers(held)
    assert [hit.chunk.document for hit in Dense().retrieve(kb, ["The crane number 3"], 60)[0]].count("d3") == 1


def test_a_forgotten_document_is_gone_from_a_search_that_had_found_it(kb, monkeypatch):
    """The search holds rows of the document when it is forgotten: it runs again on what is left."""
    snapshot = type(kb.snapshot())
    chunks, forgot = snapshot.chunks, []

    def late(self, rows):
        if not forgot:
            forgot.append(kb.forget(["d8"]))
        return chunks(self, rows)

    monkeypatch.setattr(snapshot, "chunks", late)
    found = {hit.chunk.document for hit in Dense().retrieve(kb, ["The pump number 8 of hall 3 is red."], 5)[0]}
    assert forgot
    assert "d8" not in found


def test_another_process_is_shown_after_a_refresh_and_own_writes_at_once(kb):
    with KnowledgeBase.open(kb.path) as other:
        shown = other.snapshot()
        kb.add([thing("late", 700)])
        assert other.snapshot() is shown
        assert not other.is_current
        other.refresh()
        assert (other.generation, other.is_current) == (kb.generation, True)
        other.add([thing("later", 701)])
        assert other.document("later")
        assert (kb.count, other.count) == (61, 62)


def answers(view):
    """What one snapshot answers to a few questions: documents and scores."""
    questions = ["Which pump is red?", "mill of hall 2"]
    return [
        [[(hit.chunk.document, hit.chunk.text, round(hit.score, 5)) for hit in hits] for hits in ranked]
        for ranked in (Dense().retrieve(view, questions, 100), BM25().retrieve(view, questions, 7))
    ]


class Model:
    """What each generation holds, noted by the writer; answers by looking at every document."""

    def __init__(self):
        self.generations = {}

    def note(self, kb):
        self.generations[kb.generation] = {one.id: (one.text, one.metadata["n"]) for one in kb.documents()}

    def nearest(self, generation, query, k, below):
        held = [(name, text) for name, (text, n) in self.generations[generation].items() if below is None or n < below]
        if not held:
            return []
        scores = ENCODER.encode_passages([text for _, text in held]) @ ENCODER.encode_queries([query])[0]
        return sorted((round(float(score), 4) for score in scores), reverse=True)[:k]

    def containing(self, generation, word, below):
        held = self.generations[generation].items()
        return {name for name, (text, n) in held if word in text and (below is None or n < below)}

    def holds(self, generation, hit, below):
        text, n = self.generations[generation][hit.chunk.document]
        return hit.chunk.text == text and (below is None or n < below)


ROUND = ["add", "delete", "add", "rollback", "add", "compact"]


def many_operations(kb, operations):
    """Eight readers, a writer that also compacts and rolls back; each answer is compared with brute force."""
    model = Model()
    model.note(kb)
    numbers = iter(range(10**9))
    lock, done, counts = threading.Lock(), threading.Event(), {"dense": 0, "bm25": 0, "expired": 0}
    steps = []

    def more():
        """At least so many operations, and at least two rounds of everything a writer does."""
        with lock:
            return next(numbers) < operations or len(steps) < 2 * len(ROUND)

    def count(kind):
        with lock:
            counts[kind] += 1

    def read(seed):
        rng = random.Random(seed)

        def run():
            while more() and not done.is_set():
                view = kb.snapshot()
                until = time.monotonic() + 30
                while view.generation not in model.generations:  # the writer notes what it has just committed
                    assert time.monotonic() < until
                    time.sleep(0.001)
                below = rng.choice([None, None, 40, 500])
                where = None if below is None else parse(f"n < {below}")
                query, k = f"The {rng.choice(THINGS)} of hall {rng.randrange(5)}", rng.choice([1, 5, 20])
                try:
                    if rng.random() < 0.6:
                        (hits,) = Dense().retrieve(view, [query], k, where)
                        assert [round(hit.score, 4) for hit in hits] == pytest.approx(
                            model.nearest(view.generation, query, k, below), abs=2e-4
                        )
                        count("dense")
                    else:
                        word = rng.choice(THINGS)
                        (hits,) = BM25().retrieve(view, [word], k, where)
                        matching = model.containing(view.generation, word, below)
                        found = {hit.chunk.document for hit in hits}
                        assert found <= matching
                        assert len(hits) == len(found) == min(k, len(matching))
                        count("bm25")
                    assert all(model.holds(view.generation, hit, below) for hit in hits)
                except SnapshotExpired:
                    count("expired")

        return run

    def write():
        rng = random.Random(0)
        try:
            while not done.is_set():
                step = ROUND[len(steps) % len(ROUND)]
                if step == "add":
                    kb.add([thing(f"w{rng.randrange(90)}", rng.randrange(1000)) for _ in range(rng.randrange(1, 4))])
                elif step == "delete":
                    kb.delete([f"w{rng.randrange(90)}", f"d{rng.randrange(60)}"])
                elif step == "rollback":
                    kb.rollback(rng.choice([one.id for one in kb.log() if one.readable][-4:]))
                else:
                    kb.compact(keep=2)
                model.note(kb)
                steps.append(step)
                time.sleep(0.005)  # so that some snapshots are searched more than once
        finally:
            done.set()

    def readers():
        try:
            together(*(read(seed) for seed in range(8)))
        finally:
            done.set()

    together(readers, write)
    assert sum(counts.values()) >= operations
    assert min(counts["dense"], counts["bm25"]) > operations / 5
    assert counts["expired"] < operations / 5
    assert {*steps} == {*ROUND}
    assert kb.verify() == []
    assert np.array_equal(kb.snapshot().index.ids(), kb.live_rows())
    return counts


def test_eight_readers_a_writer_a_compaction_and_a_rollback(kb):
    many_operations(kb, 400)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_eight_readers_for_ten_thousand_operations(kb):
    many_operations(kb, 10_000)
