"""Many calls on one loaded model: who goes in, who is stopped, what a crash does, and what others never see."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.cancellation import cancel_when, is_cancelled
from llmkit.errors import Cancelled, ModelError, TooLong
from llmkit.models.chat import ChatModelSpec
from llmkit.models.local.engine import Crashed, Done, Request
from llmkit.models.local.engine_calls import EngineCalls
from llmkit.models.local.slot_queue import EXCLUSIVE, SlotQueue, admissible

KEYS = st.sampled_from([None, "a", "b", EXCLUSIVE])


def moved(running, line, most):
    """Running and line after an admission."""
    going = admissible(running, line, most)
    return [*running, *(line[n] for n in going)], [key for n, key in enumerate(line) if n not in going]


@st.composite
def states(draw):
    """SlotQueue and a line as they can come about: arrivals and departures in any order."""
    most = draw(st.integers(1, 4))
    running, line = [], []
    for key in draw(st.lists(st.one_of(KEYS, st.just("leave")), max_size=30)):
        if key != "leave":
            line.append(key)
        elif running:
            running.pop(draw(st.integers(0, len(running) - 1)))
        running, line = moved(running, line, most)
    return running, line, most


@given(states())
def test_those_who_run_have_one_adapter_and_a_slot_each(state):
    running, line, most = state
    assert len(running) <= most
    assert len(set(running)) <= 1
    assert len(running) == 1 or EXCLUSIVE not in running
    assert running or not line  # nobody waits for a model that does nothing
    if line and len(running) < most and EXCLUSIVE not in (line[0], *running):
        assert line[0] != running[0]  # a slot stays free only for the sake of another adapter


@given(states(), KEYS)
def test_nobody_is_passed_for_ever(state, key):
    """Whoever comes later goes in no earlier than the first in line, so the wait ends with those who were there."""
    running, line, most = state
    _, after = moved(running, [*line, key], most)
    assert after[: len(line)] == line  # a newcomer moves nobody
    rounds = 0
    while line:
        before = line
        running, line = moved([], line, most)
        assert running[0] == before[0]
        rounds += 1
    assert rounds <= len(state[1])


class Script:
    """An engine whose answers are made a word at a time, when the test lets them."""

    knows_schemas = True
    loads = 0

    def __init__(self, slots=2):
        Script.loads += 1
        self.slots, self.step = slots, threading.Semaphore(0)
        self.inside, self.most_inside, self.keys, self.stopped, self.shared = 0, 0, set(), [], []
        self.crash = threading.Event()
        self._lock = threading.Lock()

    def generate(self, request, tell):
        name = request.turns[-1][1]
        with self._lock:
            self.inside += 1
            self.keys.add(request.adapter)
            assert len(self.keys) == 1, "calls of two adapters share a step"
            self.most_inside = max(self.most_inside, self.inside)
        try:
            for n in range(request.max_tokens):
                while not self.step.acquire(timeout=0.01):
                    if tell(""):
                        self.stopped.append(name)
                        return Done("cancelled", 1, n)
                    if self.crash.is_set():
                        raise Crashed("the scripted one")
                if tell(f"{name}{n} "):
                    self.stopped.append(name)
                    return Done("cancelled", 1, n)
            return Done("length", 1, request.max_tokens)
        finally:
            with self._lock:
                self.inside -= 1
                if not self.inside:
                    self.keys.clear()

    def share(self, turns):
        assert not self.inside, "a beginning is read beside calls"
        self.shared.append(turns)

    def count(self, turns):
        return 7

    def with_adapters(self, adapters):
        pass


def until(true, seconds=10.0):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.005)


@contextmanager
def scripted(slots=2):
    engines = []

    def load(adapters):
        engines.append(Script(slots))
        return engines[-1]

    calls = EngineCalls(load, {})
    with ThreadPoolExecutor(32) as pool:
        try:
            yield calls, engines, pool
        finally:
            for engine in engines:
                engine.step.release(10_000)


def ask(calls, name, tokens=3, adapter=None):
    request = Request([("user", name)], max_tokens=tokens, temperature=0, adapter=adapter)
    return "".join(piece for piece in calls.stream(request, "x") if isinstance(piece, str))


def test_as_many_at_a_time_as_there_are_slots_and_every_answer_is_its_own():
    with scripted(3) as (calls, (engine, *_), pool):
        asked = [pool.submit(ask, calls, f"call{n}-", 5) for n in range(12)]
        until(lambda: engine.inside == 3)
        engine.step.release(100)
        assert [one.result(10) for one in asked] == ["".join(f"call{n}-{i} " for i in range(5)) for n in range(12)]
        assert engine.most_inside == 3


def test_calls_of_two_adapters_take_turns():
    with scripted(4) as (calls, (engine, *_), pool):
        asked = [pool.submit(ask, calls, f"{n}-", 2, adapter) for n, adapter in enumerate([None, "a", None, "a"] * 4)]
        until(lambda: (engine.inside, len(calls.slots._line)) == (1, 15))
        engine.step.release(2)
        until(lambda: engine.inside == 4)  # the first of the other adapter, and three that came after
        engine.step.release(100)
        for one in asked:
            one.result(10)


def test_one_who_leaves_stops_its_own_call_and_frees_its_slot():
    with scripted(2) as (calls, (engine, *_), pool):
        mine = calls.stream(Request([("user", "mine")], max_tokens=50, temperature=0), "x")
        engine.step.release(1)
        assert next(mine) == "mine0 "
        other = pool.submit(ask, calls, "other", 3)
        third = pool.submit(ask, calls, "third", 3)
        until(lambda: engine.inside == 2)
        mine.close()
        assert engine.stopped == ["mine"]
        until(lambda: engine.inside == 2)  # the third has its slot
        engine.step.release(10)
        assert other.result(10) == "other0 other1 other2 "
        assert third.result(10) == "third0 third1 third2 "


def test_a_run_that_is_called_off_stops_the_model_before_its_first_token_and_leaves_the_line():
    gone = threading.Event()

    def run(name):
        with cancel_when(gone.is_set):
            return ask(calls, name)

    with scripted(1) as (calls, (engine, *_), pool):
        reading, waiting = pool.submit(run, "reading"), None
        until(lambda: engine.inside == 1)
        waiting = pool.submit(run, "waiting")
        until(lambda: len(calls.slots._line) == 1)
        gone.set()
        for one in (reading, waiting):
            with pytest.raises(Cancelled):
                one.result(5)
        assert engine.stopped == ["reading"]
        assert (calls.slots._line, calls.slots._running) == ([], [])
        engine.step.release(3)
        assert ask(calls, "next") == "next0 next1 next2 "


def test_a_crash_is_told_to_all_in_flight_and_the_next_call_has_a_fresh_model():
    with scripted(2) as (calls, engines, pool):
        running = [pool.submit(ask, calls, f"{n}") for n in range(2)]
        until(lambda: engines[0].inside == 2)
        waiting = pool.submit(ask, calls, "waiting")
        until(lambda: len(calls.slots._line) == 1)
        engines[0].crash.set()
        for one in running:
            with pytest.raises(ModelError, match=r"the model crashed .* loaded anew") as told:
                one.result(10)
            assert told.value.retryable
        until(lambda: len(engines) == 2 and engines[1].inside == 1)
        engines[1].step.release(3)
        assert waiting.result(10) == "waiting0 waiting1 waiting2 "
        assert len(engines) == 2


def test_an_error_of_one_call_is_only_its_own():
    with scripted(2) as (calls, engines, pool):
        good = pool.submit(ask, calls, "good")
        until(lambda: engines[0].inside == 1)
        real = engines[0].generate
        engines[0].generate = lambda request, tell: (_ for _ in ()).throw(TooLong("too long"))
        with pytest.raises(TooLong):
            ask(calls, "bad")
        engines[0].generate = real
        engines[0].step.release(3)
        assert good.result(10).startswith("good0")
        assert len(engines) == 1
        assert calls.slots._running == []


def test_a_model_that_cannot_be_loaded_again_says_so_each_time_and_holds_no_slot():
    with scripted(1) as (calls, engines, _):
        engines[0].crash.set()
        with pytest.raises(Crashed):
            ask(calls, "a")
        calls._load = lambda adapters: (_ for _ in ()).throw(ModelError("the file is gone"))
        for _ in range(2):
            with pytest.raises(ModelError, match="the file is gone"):
                ask(calls, "b")
        assert (calls.slots._line, calls.slots._running) == ([], [])


def test_a_long_system_text_is_read_once_for_a_burst_and_never_beside_calls():
    with scripted(4) as (calls, (engine, *_), pool):

        def asked(system, name):
            request = Request([("system", system), ("user", name)], max_tokens=1, temperature=0)
            return pool.submit(lambda: list(calls.stream(request, "x")))

        burst = [asked("rules " * 100, f"{n}") for n in range(6)]
        until(lambda: engine.inside == 4)
        other = asked("other " * 100, "busy")  # the model is not idle: it is read in this slot only
        engine.step.release(100)
        for one in [*burst, other]:
            one.result(10)
        asked("short", "x").result(10)
        asked("rules " * 100, "again").result(10)
        assert engine.shared == [[("system", "rules " * 100)]]


def test_counting_does_not_wait_for_answers():
    with scripted(2) as (calls, (engine, *_), pool):
        asked = [pool.submit(ask, calls, "x") for _ in range(2)]
        until(lambda: engine.inside == 2)
        assert calls.count([("user", "y")]) == 7
        engine.step.release(10)
        for one in asked:
            one.result(10)


def test_a_call_with_nothing_beside_it_waits_until_the_others_are_done():
    slots, order = SlotQueue(2), []
    first, go = threading.Event(), threading.Event()

    def use(key, name):
        with slots.take(key):
            order.append(name)
            first.set()
            assert go.wait(10)

    with ThreadPoolExecutor(4) as pool:
        pool.submit(use, None, "call")
        first.wait(10)
        alone = pool.submit(use, EXCLUSIVE, "alone")
        until(lambda: len(slots._line) == 1)
        later = pool.submit(use, None, "later")
        until(lambda: len(slots._line) == 2)
        assert order == ["call"]
        go.set()
        alone.result(10), later.result(10)
    assert order == ["call", "alone", "later"]


def test_what_is_called_off_outside_is_called_off_inside():
    assert not is_cancelled()
    with cancel_when(lambda: True):
        with cancel_when(lambda: False):
            assert is_cancelled()
    assert not is_cancelled()


def test_a_client_that_goes_away_calls_off_a_model_that_says_nothing():
    from llmkit.serve.runtime.job_runner import JobRunner

    seen = []

    def work(tell):
        until(is_cancelled)
        seen.append("called off")

    async def play():
        runner = JobRunner(slots=1, max_waiting=1)
        job = runner.submit(work)
        await asyncio.sleep(0.05)
        job.stop()
        await asyncio.wait_for(asyncio.wait([job.task]), 5)
        await runner.close(0)

    asyncio.run(play())
    assert seen == ["called off"]


def test_slots_are_told_from_other_settings():
    plain, four = ChatModelSpec(model="local:smollm2"), ChatModelSpec(model="local:smollm2", slots=4)
    assert "slots" not in plain.config()  # digests of older runs stay
    assert four.config()["slots"] == 4
    assert plain.replace(slots=4) == four
    with pytest.raises(ValueError, match="slots"):
        ChatModelSpec(model="local:smollm2", slots=0)
