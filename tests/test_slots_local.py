"""Slots of SmolLM2 on llama.cpp: many at a time, each with its own window, settings, end and text."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from llmkit.cancellation import cancel_when
from llmkit.errors import Cancelled, ModelError, TooLong
from llmkit.models.chat import ChatModelSpec, load_chat, with_slots
from llmkit.models.local.engine import Crashed, Request

pytestmark = pytest.mark.slow
SLOTS = 3
WORDS = "zebra", "violin", "glacier"


LOADED: list = []


@pytest.fixture
def model(weights_home):
    if not LOADED:
        LOADED.append(load_chat({"model": "local:smollm2", "slots": SLOTS, "context": 256, "max_tokens": 12}))
    return LOADED[0]


def together(*jobs):
    with ThreadPoolExecutor(len(jobs)) as pool:
        return [one.result(300) for one in [pool.submit(job) for job in jobs]]


def refused(model, text, **options):
    """The error of a call."""
    with pytest.raises(ModelError) as told:
        model.bind(**options).invoke(text)
    return told.value


def test_each_call_in_company_keeps_its_settings_and_its_text(model):
    """A schema, a grammar, a stop text and a length beside each other; no word of one in the answer of another."""
    schema = {"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"], "additionalProperties": False}
    for _ in range(2):
        held, bound, cut = together(
            lambda: model.bind(response_schema=schema, max_tokens=30).invoke("Give a number, or say zebra, as JSON."),
            lambda: model.bind(grammar='root ::= "violin" | "cello"').invoke("Which one, violin or cello?"),
            lambda: model.invoke("Say: glacier glacier glacier glacier", max_tokens=5),
        )
        assert json.loads(held.text)["n"] in (1, 2)
        assert bound.text in ("violin", "cello")
        assert cut.response_metadata["finish_reason"] == "length"
        assert cut.usage_metadata["output_tokens"] == 5
        for mine, answer in zip(WORDS, (held, bound, cut), strict=True):
            assert not [word for word in WORDS if word != mine and word in answer.text]


def test_every_slot_has_the_whole_window(model):
    long = "word " * 190
    tokens = model._engine.count([("user", long)])
    answers = together(*[lambda n=n: model.invoke(f"{n} {long}", max_tokens=2) for n in range(SLOTS)])
    assert all(answer.usage_metadata["input_tokens"] >= tokens for answer in answers)
    fits, beyond = together(lambda: model.invoke(f"0 {long}", max_tokens=2), lambda: refused(model, "word " * 300))
    assert fits.usage_metadata["output_tokens"] >= 1
    assert isinstance(beyond, TooLong)
    assert "256" in str(beyond)


def test_answers_come_at_the_same_time(model):
    """Were they made one after the other, the last would begin after the first has ended."""
    begun, ended = [], []

    def ask(topic):
        pieces = model.bind(max_tokens=24).stream(f"Tell me about {topic}.")
        next(piece for piece in pieces if piece.text)
        begun.append(time.monotonic())
        for _ in pieces:
            pass
        ended.append(time.monotonic())

    together(*[lambda topic=topic: ask(topic) for topic in WORDS])
    assert max(begun) < min(ended)


def test_a_call_is_stopped_while_its_prompt_is_read(model):
    """The next one would otherwise wait for the whole prompt, or share its steps with it."""
    gone = threading.Event()

    def ask():
        with cancel_when(gone.is_set):
            return model.invoke("A prompt that nobody waits for. " + "word " * 190)

    model.invoke("Hi", max_tokens=1)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask)
        gone.set()
        with pytest.raises(Cancelled):
            asked.result(300)
    assert model._calls.slots._running == []
    assert model.invoke("Hi", max_tokens=1).usage_metadata["output_tokens"] == 1


def test_a_system_text_that_users_share_is_read_once(model):
    system = "Answer from the warranty. " + "It covers parts for 24 months. " * 18
    answers = together(*[lambda t=t: model.invoke([("system", system), ("user", t)], max_tokens=2) for t in WORDS])
    assert all(answer.response_metadata["cached_tokens"] > 100 for answer in answers)
    folder = model._engine._loaded.folder.name
    assert not [path for path in Path(folder).iterdir() if path.suffix != ".sock"]  # no copy of it stays on the disk


def test_what_is_copied_into_a_slot_is_what_it_would_have_read(model):
    system = "Answer from the warrant. " + "It covers parts for 25 months. " * 18
    turns, engine = [("system", system), ("user", "zebra")], model._engine

    def first(**options):
        body = {**engine._body(Request(turns, max_tokens=1, temperature=0.0)), "stream": False, **options}
        answer = engine._server.handle_chat_completions({**body, "logprobs": True, "top_logprobs": 50})
        top = answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
        known = answer["usage"]["prompt_tokens_details"]["cached_tokens"]
        return {one["id"]: one["logprob"] for one in top}, known

    cold, known = first(id_slot=0, cache_prompt=False)
    assert known == 0
    for slot in range(SLOTS):
        model.invoke(f"Something else {slot}.", max_tokens=1)
    engine.share(turns[:1])
    for slot in range(SLOTS):
        told, known = first(id_slot=slot)
        assert known > 100
        assert max(abs(told[t] - cold[t]) for t in told.keys() & cold.keys()) < 0.1  # measured: 0.0


def test_after_a_crash_the_next_call_has_a_fresh_model(model):
    class Dead:
        def handle_chat_completions(self, body, hear):
            hear({"error": {"code": 500, "message": "Compute error.", "type": "server_error"}})

    engine = model._engine
    loaded = engine._loaded
    engine._loaded = type(loaded)(Dead(), loaded.key, loaded.folder, loaded.adapters)
    told = refused(model, "Hi")
    assert isinstance(told, Crashed)
    assert "loaded anew" in str(told)
    assert model.invoke("What is the capital of France?").text
    assert model._engine is not engine


@pytest.mark.parametrize("options", [{"grammar": "root ::= oops("}, {"response_schema": {"type": "nonsense"}}])
def test_what_llama_cpp_refuses_is_the_callers_error_and_no_crash(model, options):
    engine = model._engine
    told = refused(model, "Hi", **options)
    assert "llama.cpp" in str(told)
    assert not isinstance(told, Crashed)
    assert model._engine is engine


def test_a_prompt_read_with_an_adapter_is_not_reused_without_it(weights_home):
    """llama.cpp keeps prompts that left their slot and forgets the adapter they were read with."""
    passage = "The warranty covers parts for 24 months. " * 4
    asked = [("system", "Answer from the passage."), ("user", f"{passage}What is covered?")]
    others = [[("system", text), ("user", "Hello!")] for text in ("Be polite, say hello.", "You translate words.")]

    def bare(*before):
        engine = load_chat({"model": "local:answerer", "context": 512})._engine
        for turns, adapter in before:
            engine.first_token(turns, adapter)
        return engine.first_token(asked), engine

    cold, _ = bare()
    told, engine = bare((asked, "default"), (others[0], "default"), (others[1], None))
    adapted = engine.first_token(asked, "default")
    apart = [max(abs(cold[t] - other[t]) for t in cold.keys() & other.keys()) for other in (told, adapted)]
    assert apart[0] < 1.0 < apart[1]  # a cached prefix moves them by 0.3, the adapter by 5, what it read by 2.4


def test_slots_nobody_asked_for_fit_into_memory(weights_home):
    assert with_slots(ChatModelSpec(model="local:smollm2"), 8).slots == 8  # 180 MiB each
    assert with_slots(ChatModelSpec(model="local:smollm2"), 2).slots == 2
    assert with_slots(ChatModelSpec(model="local:smollm2", slots=3), 8).slots == 3
    assert with_slots(ChatModelSpec(model="local:smollm2", runtime="openvino"), 8).slots is None
    assert with_slots(ChatModelSpec(model="scripted:x"), 8).slots is None
    with pytest.raises(ModelError, match="one call at a time"):
        load_chat({"model": "local:smollm2", "runtime": "openvino", "slots": 2})
