"""Chat models: local GGUF files on both runtimes, an OpenAI-compatible server, scripts."""

from __future__ import annotations

import json
import threading
import time

import pytest
from conftest import Reply

from llmkit.errors import ConfigError, ModelError, StepError
from llmkit.models.chat import ChatModelSpec, context_window, count_tokens, load_chat, translate
from llmkit.models.local.gguf import trained_context
from llmkit.models.scripted import ScriptedChat
from llmkit.types import Message

LONG = "The warranty covers parts for 24 months. It does not cover damage caused by water. " * 30


@pytest.fixture(params=["llamacpp", "openvino"])
def local(request, weights_home):
    if request.param not in LOADED:
        LOADED[request.param] = load_chat(
            {"model": "local:smollm2", "runtime": request.param, "max_tokens": 24, "context": 2048}
        )
    return LOADED[request.param]


LOADED: dict = {}


@pytest.mark.slow
class TestLocal:
    def test_it_answers_streams_and_counts(self, local):
        question = [("system", "Answer briefly."), ("user", "What is the capital of France?")]
        answer = local.invoke(question)
        assert "France" in answer.text or "Paris" in answer.text
        assert answer.usage_metadata["input_tokens"] > 10
        pieces = list(local.stream(question))
        assert "".join(piece.text for piece in pieces) == answer.text
        assert len(pieces) > 3
        total = pieces[0]
        for piece in pieces[1:]:
            total += piece
        assert total.usage_metadata["output_tokens"] > 0
        assert total.response_metadata["finish_reason"] in ("stop", "length")

    def test_greedy_answers_repeat(self, local):
        assert local.invoke("Name three colours.").text == local.invoke("Name three colours.").text

    def test_length_and_stop_are_told_apart(self, local):
        cut = local.bind(max_tokens=3).invoke("Tell me a long story.")
        assert cut.response_metadata["finish_reason"] == "length"
        stopped = local.invoke("Count: one two three four five six", stop=["three", "3"])
        assert "three" not in stopped.text

    def test_a_prompt_beyond_the_window_is_refused_with_counts(self, local):
        assert context_window(local) == 2048
        with pytest.raises(ModelError, match="2048"):
            local.invoke("word " * 4000)
        assert count_tokens(local, [Message("user", "word " * 1500)]) > 1500

    def test_a_closed_stream_stops_the_model(self, local):
        begun = time.monotonic()
        stream = local.bind(max_tokens=1500).stream("Write a very long story about a pump.")
        next(stream)
        stream.close()
        local.invoke("Hi")
        assert time.monotonic() - begun < 20

    def test_answers_follow_a_schema(self, local):
        schema = {
            "type": "object",
            "properties": {"n": {"enum": ["one", "two"]}},
            "required": ["n"],
            "additionalProperties": False,
        }
        answer = local.bind(response_schema=schema).invoke("Give a number as JSON.")
        assert json.loads(answer.text)["n"] in ("one", "two")

    def test_an_unknown_option_is_named(self, local):
        with pytest.raises(ModelError, match="top_q"):
            local.bind(top_q=1).invoke("Hi")

    def test_two_threads_take_turns(self, local):
        answers = []
        threads = [threading.Thread(target=lambda: answers.append(local.invoke("Say yes.").text)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(answers) == 3
        assert all(answers)  # not equal: a prefix that is cached can turn a near-tie


@pytest.mark.slow
def test_grammars_are_obeyed_by_llamacpp_and_refused_by_openvino(weights_home):
    llama = LOADED.get("llamacpp") or load_chat({"model": "local:smollm2", "max_tokens": 8})
    assert llama.bind(grammar='root ::= "yes" | "no"').invoke("Is water wet?").text in ("yes", "no")
    openvino = load_chat({"model": "local:smollm2", "runtime": "openvino"})
    with pytest.raises(ModelError, match="llamacpp"):
        openvino.bind(grammar='root ::= "yes"').invoke("x")


@pytest.mark.slow
def test_a_prompt_is_counted_exactly_where_its_bytes_might_not_fit_beside_a_long_answer(weights_home):
    model = load_chat({"model": "local:smollm2", "max_tokens": 6000})
    prompt = [Message("user", "word " * 600)]
    assert count_tokens(model, prompt) == model.invoke("word " * 600, max_tokens=1).usage_metadata["input_tokens"]


@pytest.mark.slow
def test_a_prompt_longer_than_the_tokenizer_of_openvino_reads_is_counted_whole_and_refused(weights_home):
    openvino = load_chat({"model": "local:smollm2", "runtime": "openvino"})
    llama = load_chat({"model": "local:smollm2", "runtime": "llamacpp", "context": 512})
    for text in ("word " * 20_000, "word" * 20_000, "Ein Satz, mit Ümlauten.\n" * 3000):
        counted, right = (model._engine.count([("user", text)]) for model in (openvino, llama))
        assert right <= counted <= right + 8
        with pytest.raises(ModelError, match=f"the prompt has {counted} tokens, OpenVINO's tokenizer .* reads 8192"):
            openvino.invoke(text)


@pytest.mark.slow
def test_a_shared_beginning_is_read_once(weights_home):
    model = LOADED.get("llamacpp") or load_chat({"model": "local:smollm2", "max_tokens": 8})
    model.invoke(f"{LONG} What is covered?")
    again = model.invoke(f"{LONG} What is not covered?")
    assert again.response_metadata["cached_tokens"] > 300


@pytest.mark.slow
def test_the_passages_that_do_not_fit_are_left_out_and_said(weights_home, tmp_path):
    from llmkit.encoders.hashing import HashingEncoder
    from llmkit.knowledge.knowledge_base import KnowledgeBase
    from llmkit.pipeline import Pipeline
    from llmkit.types import Document

    with KnowledgeBase.create(tmp_path / "kb", encoder=HashingEncoder()) as kb:
        kb.add([Document(f"d{i}", f"warranty part{i} " * 100) for i in range(6)])
        model = {"model": "local:smollm2", "context": 1024, "max_tokens": 16}
        pipeline = Pipeline(
            name="x", model=model, steps=["retrieve", {"type": "answer", "passages": 6}]
        ).with_knowledge(kb)
        state = pipeline.run("What is in the warranty?")
        assert 1 <= len(state.hits) < 6
        assert any("did not fit" in note for note in state.records[1].detail["notes"])
        with pytest.raises(StepError, match="best passage has"):
            pipeline.run("warranty " * 200 + "?" + " why" * 500)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a model",
        b"GGUF",
        b"GGUF\x03\x00\x00\x00" + b"\xff" * 16,
        b"GGUF\x03\x00\x00\x00" + b"\x01" + b"\x00" * 15 + b"\xff" * 8,
    ],
)
def test_a_file_that_is_no_model_is_refused_before_native_code_sees_it(tmp_path, content):
    (tmp_path / "x.gguf").write_bytes(content)
    with pytest.raises(ModelError, match=r"x\.gguf"):
        load_chat(f"local:{tmp_path}/x.gguf")


@pytest.mark.slow
def test_a_truncated_model_is_refused(weights_home, tmp_path):
    from llmkit import weights

    whole = weights.find("smollm2").read_bytes()
    (tmp_path / "half.gguf").write_bytes(whole[: len(whole) // 2])
    assert trained_context(tmp_path / "half.gguf") == trained_context(weights.find("smollm2")) == 8192
    with pytest.raises(ModelError, match="cannot load"):
        load_chat(f"local:{tmp_path}/half.gguf")
    with pytest.raises(ModelError, match="trained with a context of 8192"):
        load_chat({"model": "local:smollm2", "context": 100_000})


@pytest.fixture
def plan(loopback):
    """A chat server. The list says how the calls go: a status, `slow`, or the text of the answer; the last repeats."""
    plan: list = ["hello there"]

    def chat(body):
        step = plan[min(len(loopback.bodies), len(plan)) - 1]
        if isinstance(step, int):
            return loopback.fail(step, **({"Retry-After": "1"} if step == 429 else {}))
        if step == "slow":
            time.sleep(3)
            return None
        head = {"id": "x", "created": 1, "model": "m"}
        usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
        if not body.get("stream"):
            choice = {"index": 0, "message": {"role": "assistant", "content": step}, "finish_reason": "stop"}
            return Reply(
                json.dumps({**head, "object": "chat.completion", "choices": [choice], "usage": usage}).encode()
            )
        deltas = [[{"index": 0, "delta": {"content": word}, "finish_reason": None}] for word in step.split(" ")]
        chunks = [{**head, "object": "chat.completion.chunk", "choices": choices} for choices in [*deltas, []]]
        chunks[-1]["usage"] = usage
        lines = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks]
        return Reply("".join([*lines, "data: [DONE]\n\n"]).encode(), "text/event-stream")

    loopback.answer = chat
    return plan


@pytest.mark.network
class TestOpenAI:
    def test_it_answers_and_streams_with_usage(self, plan):
        model = load_chat("openai:m")
        assert model.invoke("Hi").text == "hello there"
        pieces = list(model.stream("Hi"))
        assert "".join(piece.text for piece in pieces) == "hellothere"
        assert any(piece.usage_metadata and piece.usage_metadata["output_tokens"] == 2 for piece in pieces)

    def test_429_waits_as_long_as_the_server_asks_and_500_is_tried_again(self, plan, loopback):
        plan[:] = [429, 500, "at last"]
        begun = time.monotonic()
        assert load_chat("openai:m").invoke("Hi").text == "at last"
        assert time.monotonic() - begun >= 1.0
        assert len(loopback.bodies) == 3

    @pytest.mark.parametrize(
        ("status", "retryable", "says"),
        [
            (500, True, "500"),
            (401, False, "refused the key"),
            (404, False, "does not know this model"),
            (429, True, "429"),
        ],
    )
    def test_what_does_not_pass_becomes_our_error(self, plan, status, retryable, says):
        plan[:] = [status]
        with pytest.raises(Exception) as caught:  # noqa: PT011
            load_chat({"model": "openai:m", "retries": 0}).invoke("Hi")
        error = translate(caught.value)
        assert isinstance(error, ModelError)
        assert error.retryable is retryable
        assert says in str(error)
        if status == 429:
            assert error.retry_after == 1.0

    def test_a_slow_server_times_out(self, plan):
        plan[:] = ["slow"]
        with pytest.raises(Exception) as caught:  # noqa: PT011
            load_chat({"model": "openai:m", "timeout": 0.3, "retries": 0}).invoke("Hi")
        assert translate(caught.value).retryable

    def test_a_dead_server_fails_the_step_by_name(self, plan, tmp_path, monkeypatch):
        from llmkit.encoders.hashing import HashingEncoder
        from llmkit.knowledge.knowledge_base import KnowledgeBase
        from llmkit.pipeline import load_pipeline
        from llmkit.types import Document

        monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
        with KnowledgeBase.create(tmp_path / "kb", encoder=HashingEncoder()) as kb:
            kb.add([Document("d", "words")])
            pipeline = load_pipeline("docs-qa-openai", ["model.retries=0"]).with_knowledge(kb)
            with pytest.raises(StepError, match=r"steps\[1\] answer: the model's server does not answer"):
                pipeline.run("Which words?")

    def test_the_shipped_pipeline_runs_against_a_server(self, plan, tmp_path):
        from llmkit.encoders.hashing import HashingEncoder
        from llmkit.knowledge.knowledge_base import KnowledgeBase
        from llmkit.pipeline import load_pipeline
        from llmkit.types import Document

        plan[:] = ["Pumps_rest_in_May [1]."]
        with KnowledgeBase.create(tmp_path / "kb", encoder=HashingEncoder()) as kb:
            kb.add([Document("d", "Pumps rest in May. Valves do not.")])
            state = load_pipeline("docs-qa-openai").with_knowledge(kb).run("When do pumps rest?")
        assert state.answer.citations[0].document == "d"
        assert state.usage.output_tokens == 2


def test_no_key_is_said_at_once():
    with pytest.raises(ModelError, match="OPENAI_API_KEY"):
        load_chat("openai:gpt-5-mini")


@pytest.mark.parametrize("spec", ["smollm2", "local:", ":x"])
def test_a_model_needs_a_provider_and_a_name(spec):
    with pytest.raises(ValueError, match="PROVIDER:NAME"):
        ChatModelSpec(model=spec)


def test_other_prefixes_go_to_langchain_and_unknown_ones_are_named():
    with pytest.raises(ConfigError, match="unknown provider 'nonesuch'"):
        load_chat("nonesuch:model")
    with pytest.raises(ModelError, match="langchain-anthropic"):
        load_chat("anthropic:claude")


def test_a_model_of_transformers_that_is_nowhere_is_one_sentence():
    with pytest.raises(ModelError, match="some/model cannot be opened by transformers"):
        load_chat("transformers:some/model")


def test_weights_that_are_missing_say_how_to_get_them():
    with pytest.raises(ModelError, match="llmkit models pull smollm2"):
        load_chat("local:smollm2")


def test_scripts_give_text_messages_tool_calls_and_errors(tmp_path):
    model = ScriptedChat(
        ["one", {"content": "", "tool_calls": [{"name": "f", "args": {"x": 1}, "id": "1"}]}, RuntimeError("boom")]
    )
    assert model.invoke("a").text == "one"
    streamed = None
    for piece in model.bind_tools([]).stream("b"):
        streamed = piece if streamed is None else streamed + piece
    assert streamed.tool_calls[0]["args"] == {"x": 1}
    with pytest.raises(RuntimeError, match="boom"):
        model.invoke("c")
    with pytest.raises(ModelError, match="has 3 outputs; this is call 4"):
        model.invoke("d")
    assert [call[0].content for call in model.calls] == ["a", "b", "c", "d"]
    assert ScriptedChat(lambda messages: messages[-1].text.upper()).invoke("loud").text == "LOUD"
    (tmp_path / "s.jsonl").write_text('"first"\n{"content": "second"}\n')
    scripted = load_chat(f"scripted:@{tmp_path}/s.jsonl")
    assert [scripted.invoke("x").text for _ in range(2)] == ["first", "second"]
    (tmp_path / "s.jsonl").write_text('{"tool_calls": [{"name": "f", "args": {"x": 1}}, {"name": "g", "args": {}}]}')
    calls = load_chat(f"scripted:@{tmp_path}/s.jsonl").invoke("x").tool_calls
    assert [(call["name"], call["args"]) for call in calls] == [("f", {"x": 1}), ("g", {})]
    assert len({call["id"] for call in calls}) == 2
    assert load_chat("scripted:always").invoke("x", stop=["w"]).text == "al"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "line 1: not JSON"),
        ("3", "line 1: neither a text nor an object; expected a JSON text, or"),
        ('"a"\n{"name": "f", "arguments": {}}', "line 2: an object with the keys name, arguments; expected"),
        ('{"tool_calls": [{"name": "f", "arguments": {}}]}', "line 1: call 1 needs a 'name' and an object 'args'"),
        ('{"content": 1}', "every other value is a text"),
    ],
)
def test_a_broken_script_names_its_line(tmp_path, content, says):
    (tmp_path / "s.jsonl").write_text(content)
    with pytest.raises(ModelError, match=says):
        load_chat(f"scripted:@{tmp_path}/s.jsonl")
    with pytest.raises(ModelError, match="cannot be read"):
        load_chat("scripted:@/no/such/file.jsonl")
