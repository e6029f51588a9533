"""Traces are written in the background, and readers see them at once."""

from __future__ import annotations

import sqlite3
import time

import pytest

from llmkit.serve.storage.background_writer import BackgroundWriter
from llmkit.serve.storage.traces import TraceStore, new_trace_id
from llmkit.types import Answer, State, StepRecord


@pytest.fixture
def writer():
    made = BackgroundWriter(delay=0.05)
    yield made
    made.close()


def on_disk(path):
    with sqlite3.connect(path) as db:
        return [name for (name,) in db.execute("SELECT id FROM traces ORDER BY seq")]


def state(text="It is August [1].", **detail):
    return State("When?", answer=Answer(text), records=(StepRecord("steps[0] answer", 0.1, detail=detail),))


def test_readers_see_traces_that_are_not_written_yet(tmp_path, writer):
    store = TraceStore(tmp_path / "t.sqlite", 100, BackgroundWriter(delay=60))
    name = new_trace_id()
    store.add(name, "p", state(), question="When?", session="talk", turn=1)
    assert on_disk(store.path) == []
    assert store.ids_by_turn("talk") == {1: name}
    assert store.get(name)["answer"]["text"] == "It is August [1]."
    assert on_disk(store.path) == [name]
    store.add(last := new_trace_id(), "p", state(), question="When?")
    store.close()
    assert on_disk(store.path) == [name, last]


def test_traces_are_written_in_order_and_the_oldest_are_deleted(tmp_path, writer):
    store = TraceStore(tmp_path / "t.sqlite", 10, writer)
    names = [new_trace_id() for _ in range(200)]
    for name in names:
        store.add(name, "p", state(), question="When?")
    end = time.monotonic() + 20
    while on_disk(store.path)[-1:] != names[-1:]:
        assert time.monotonic() < end
        time.sleep(0.02)
    left = on_disk(store.path)
    assert left == names[-len(left) :]
    assert 10 <= len(left) <= 10 + 64 + 64
    store.close()


def test_values_that_json_cannot_hold_are_written_as_text(tmp_path, writer):
    store = TraceStore(tmp_path / "t.sqlite", 10, writer)
    for text, detail in (("half a pair \ud800", {}), ("fine", {"odd": {1, 2}, "path": tmp_path, 3: float("inf")})):
        store.add(name := new_trace_id(), "p", state(text, **{str(k): v for k, v in detail.items()}), question="When?")
        assert store.get(name)["answer"]["text"] == text.replace("\ud800", "\ufffd")
    store.close()


def test_a_trace_that_cannot_be_written_is_logged_and_stops_no_answer(tmp_path, caplog, writer):
    store = TraceStore(tmp_path / "t.sqlite", 10, writer)
    with sqlite3.connect(store.path) as db:
        db.execute("DROP TABLE traces")
    with caplog.at_level("ERROR", "llmkit.serve"):
        store.add(new_trace_id(), "p", state("zebra"), question="zebra?")
        end = time.monotonic() + 20
        while not caplog.records:
            assert time.monotonic() < end
            time.sleep(0.02)
    assert "DataError" in caplog.text
    assert "zebra" not in caplog.text
    store.close()
