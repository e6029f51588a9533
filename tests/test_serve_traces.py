"""Traces are written a moment after their answer, and seen at once."""

from __future__ import annotations

import sqlite3
import time

import pytest

from llmkit.serve.storage.background_writer import Scribe
from llmkit.serve.storage.traces import TraceStore, new_id
from llmkit.types import Answer, State, StepRecord


@pytest.fixture
def scribe():
    made = Scribe(pause=0.05)
    yield made
    made.close()


def on_disk(path):
    with sqlite3.connect(path) as db:
        return [name for (name,) in db.execute("SELECT id FROM traces ORDER BY seq")]


def state(text="It is August [1].", **detail):
    return State("When?", answer=Answer(text), records=(StepRecord("steps[0] answer", 0.1, detail=detail),))


def test_who_reads_sees_what_is_not_written_yet(tmp_path, scribe):
    store = TraceStore(tmp_path / "t.sqlite", 100, Scribe(pause=60))
    name = new_id()
    store.add(name, "p", state(), asked="When?", session="talk", n=1)
    assert on_disk(store.path) == []
    assert store.of_session("talk") == {1: name}
    assert store.find(name)["answer"]["text"] == "It is August [1]."
    assert on_disk(store.path) == [name]
    store.add(last := new_id(), "p", state(), asked="When?")
    store.close()
    assert on_disk(store.path) == [name, last]


def test_it_is_written_soon_in_order_and_the_oldest_go(tmp_path, scribe):
    store = TraceStore(tmp_path / "t.sqlite", 10, scribe)
    names = [new_id() for _ in range(200)]
    for name in names:
        store.add(name, "p", state(), asked="When?")
    end = time.monotonic() + 20
    while on_disk(store.path)[-1:] != names[-1:]:
        assert time.monotonic() < end
        time.sleep(0.02)
    left = on_disk(store.path)
    assert left == names[-len(left) :]
    assert 10 <= len(left) <= 10 + 64 + 64
    store.close()


def test_what_json_cannot_hold_is_written_as_text(tmp_path, scribe):
    store = TraceStore(tmp_path / "t.sqlite", 10, scribe)
    for text, detail in (("half a pair \ud800", {}), ("fine", {"odd": {1, 2}, "path": tmp_path, 3: float("inf")})):
        store.add(name := new_id(), "p", state(text, **{str(k): v for k, v in detail.items()}), asked="When?")
        assert store.find(name)["answer"]["text"] == text
    store.close()


def test_a_trace_that_cannot_be_written_is_logged_and_stops_no_answer(tmp_path, caplog, scribe):
    store = TraceStore(tmp_path / "t.sqlite", 10, scribe)
    with sqlite3.connect(store.path) as db:
        db.execute("DROP TABLE traces")
    with caplog.at_level("ERROR", "llmkit.serve"):
        store.add(new_id(), "p", state("zebra"), asked="zebra?")
        end = time.monotonic() + 20
        while not caplog.records:
            assert time.monotonic() < end
            time.sleep(0.02)
    assert "DataError" in caplog.text
    assert "zebra" not in caplog.text
    store.close()
