"""What a model's spec sends to a server, the waits it tells of, and the lines of docs/models.md for each server.

The servers are imitations: a scripted server of this machine that refuses and answers as the real ones are reported to.
"""

from __future__ import annotations

import pytest

from llmkit.cancellation import cancel_when
from llmkit.errors import Cancelled, ConnectionLost, ModelError, TooLong
from llmkit.models.ask import ask_model
from llmkit.models.caching_chat import CachingChat
from llmkit.models.chat import ChatModelSpec, load_chat, schema_options
from llmkit.models.response_cache import ResponseCache
from llmkit.retry_waits import Wait, on_wait, wait
from llmkit.testing import ReplyServer
from llmkit.testing.reply_behaviours import BEHAVIOURS
from llmkit.testing.reply_wire import TEXT
from llmkit.types import Message

pytestmark = pytest.mark.network
QUESTION = [Message("system", "Be brief."), Message("user", "What does the pump cost?")]
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}


@pytest.fixture
def server(monkeypatch):
    with ReplyServer() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        yield server


def ask(spec, *, streamed=False, **options):
    chat = load_chat({"retries": 0, "timeout": 2.0, **spec})
    return ask_model(chat, QUESTION, on_token=(lambda _: None) if streamed else None, **options)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("name", "refused", "remedy"),
    [
        ("refuses-temperature", {}, {"temperature": None}),
        ("refuses-max-tokens", {}, {"max_tokens_field": "max_completion_tokens"}),
        ("refuses-max-tokens", {}, {"max_tokens_field": None}),
        ("refuses-max-completion-tokens", {"max_tokens_field": "max_completion_tokens"}, {"max_tokens_field": "auto"}),
        ("refuses-seed", {"seed": 1}, {"seed": None}),
        ("refuses-stop", {"stop": ("x",)}, {"stop": ()}),
        ("refuses-reasoning-effort", {"reasoning_effort": "low"}, {"reasoning_effort": None}),
        ("refuses-extra-body", {"extra_body": {"top_k": 5}}, {"extra_body": {}}),
    ],
)
def test_a_parameter_that_a_server_refuses_is_named_with_the_key_that_leaves_it_out(
    server, name, refused, remedy, streamed
):
    spec = {"model": f"openai:{name}"}
    with pytest.raises(ModelError, match=BEHAVIOURS[name].says) as caught:
        ask({**spec, **refused}, streamed=streamed)
    assert not caught.value.retryable
    assert ask({**spec, **remedy}, streamed=streamed).text == TEXT


def test_the_usage_of_a_stream_is_asked_for_unless_the_server_refuses_it(server):
    spec = {"model": "openai:refuses-stream-options"}
    with pytest.raises(ModelError, match="stream_options: false"):
        ask(spec, streamed=True)
    assert ask({**spec, "stream_options": False}, streamed=True).text == TEXT
    assert ask(spec).text == TEXT  # without a stream it is not sent


def test_what_cannot_be_left_out_says_what_to_do(server):
    with pytest.raises(ModelError, match="use a prompt without one"):
        ask({"model": "openai:refuses-system-role"})
    chat = load_chat({"model": "openai:refuses-schema", "retries": 0})
    with pytest.raises(ModelError, match="constrain: false"):
        ask_model(chat, QUESTION, **schema_options(chat, SCHEMA))
    tools = load_chat({"model": "openai:refuses-tools", "retries": 0}).bind_tools(
        [{"name": "f", "description": "F.", "parameters": SCHEMA}]
    )
    with pytest.raises(ModelError, match=r"docs/models\.md"):
        ask_model(tools, QUESTION)
    with pytest.raises(TooLong):
        ask({"model": "openai:prompt-too-long"})


SERVERS = {
    "OpenAI": ("gpt-5-mini", {"reasoning_effort": "low"}, {"max_completion_tokens": 512, "reasoning_effort": "low"}, {"temperature"}),
    "Azure": ("my-deployment", {"api_version": "2025-04-01-preview", "temperature": None, "max_tokens_field": "max_completion_tokens"},
              {"max_completion_tokens": 512}, {"temperature", "max_tokens"}),
    "vLLM": ("Qwen/Qwen3-8B", {"extra_body": {"chat_template_kwargs": {"enable_thinking": False}}},
             {"max_tokens": 512, "temperature": 0.0, "chat_template_kwargs": {"enable_thinking": False}}, {"extra_body"}),
    "Ollama": ("qwen3:8b", {"reasoning_effort": "none"}, {"max_tokens": 512, "reasoning_effort": "none"}, set()),
    "LM Studio": ("qwen3-8b", {}, {"max_tokens": 512}, set()),
    "llama-server": ("any", {"extra_body": {"cache_prompt": True}}, {"cache_prompt": True}, set()),
    "LiteLLM": ("openai/gpt-5-mini", {"temperature": None}, {"max_completion_tokens": 512}, {"temperature", "max_tokens"}),
    "Gemini": ("gemini-2.5-flash", {"reasoning_effort": "low"}, {"max_tokens": 512, "reasoning_effort": "low"}, set()),
    "Anthropic": ("claude-sonnet-4-5", {"headers": {"anthropic-beta": "x"}, "stream_options": False}, {"max_tokens": 512}, {"stream_options"}),
}  # fmt: skip


@pytest.mark.parametrize("name", SERVERS)
def test_the_line_of_each_server_sends_what_it_says(server, monkeypatch, name):
    model, keys, sent, left_out = SERVERS[name]
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    monkeypatch.setattr(server, "respond", _plain(server))
    reply = ask({"model": f"openai:{model}", **keys}, streamed=True)
    assert reply.text == TEXT
    (request,) = server.requests
    assert request["model"] == model
    assert {key: request.get(key) for key in sent} == sent
    assert not left_out & request.keys()
    head = {name.casefold(): value for name, value in request["headers"].items()}
    if name == "Azure":
        assert head["api-key"] == "secret"
        assert "authorization" not in head
        assert request["path"].endswith("/chat/completions?api-version=2025-04-01-preview")
    else:
        assert head["authorization"] == "Bearer secret"
    for key, value in keys.get("headers", {}).items():
        assert head[key] == value


def _plain(server):
    respond = server.respond

    def plain(body, path, headers):
        response = respond({**body, "model": "plain"}, path, headers)
        server.requests[-1]["model"] = body["model"]
        return response

    return plain


def test_every_server_of_the_table_in_the_docs_is_tested_here():
    from conftest import REPOSITORY

    text = (REPOSITORY / "docs" / "models.md").read_text(encoding="utf-8")
    table = text.partition("| server |")[2].partition("\n\n")[0]
    rows = [line.split("|")[1].strip() for line in table.splitlines() if line.startswith("| ")]
    assert rows == list(SERVERS)


class TestSpec:
    def test_its_digest_is_the_one_of_before_where_nothing_new_is_set(self):
        spec = ChatModelSpec(model="openai:m")
        assert "headers" not in spec.config()
        assert ChatModelSpec(model="openai:m", reasoning_effort="low").digest != spec.digest

    def test_headers_are_kept_out_of_records(self, monkeypatch):
        monkeypatch.setenv("OPENAI_API_KEY", "none")
        spec = ChatModelSpec(model="openai:m", headers={"X-Key": "secret"})
        assert "secret" not in str(spec.config())
        with pytest.raises(ModelError, match="X-Key is not recorded"):
            load_chat(spec.config())

    @pytest.mark.parametrize(
        "fields",
        [
            {"headers": {"X Key": "a"}},
            {"headers": {"X": "a\nb"}},
            {"extra_body": {"messages": []}},
            {"max_tokens_field": "n"},
        ],
    )
    def test_what_cannot_be_sent_is_refused(self, fields):
        with pytest.raises(ValueError, match=r"header|cannot be given|max_completion_tokens"):
            ChatModelSpec(model="openai:m", **fields)

    def test_an_address_and_a_key_are_checked(self, monkeypatch):
        monkeypatch.setenv("OPENAI_BASE_URL", "localhost:8000")
        with pytest.raises(ModelError, match="begins with http://"):
            load_chat("openai:m")
        monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
        monkeypatch.setenv("OPENAI_API_KEY", "schlüssel\n")
        with pytest.raises(ModelError, match="check OPENAI_BASE_URL, the key"):
            load_chat({"model": "openai:m", "retries": 0}).invoke("Hi")


class TestWaits:
    def test_a_wait_is_told_with_its_reason_and_its_number(self, server):
        told = []
        with on_wait(told.append):
            assert ask({"model": "openai:busy-twice", "retries": 3}).text == TEXT
        waits = [one for one in told if one is not None]
        assert [(one.attempt, one.attempts) for one in waits] == [(2, 4), (3, 4)]
        assert str(Wait("the server answered 429: slow down", 28, 2, 4)) == (
            "the server answered 429: slow down: trying again in 28 s (2 of 4; Ctrl-C to stop)"
        )

    def test_a_pipeline_tells_its_listener(self, server):
        from llmkit.pipeline import Pipeline

        steps, events = ["generate"], []
        model = {"model": "openai:busy-twice", "retries": 3}
        Pipeline.model_validate({"name": "x", "model": model, "steps": steps}).run("?", on_event=events.append)
        assert [event.text[:37] for event in events if event.data.get("wait") is not None] == [
            "the server answered 429: slow down: t"
        ] * 2

    def test_quota_and_long_waits_are_final_at_once(self, server):
        for name in ("no-quota", "busy-for-a-day"):
            with pytest.raises(ModelError) as caught:
                ask({"model": f"openai:{name}", "retries": 5})
            assert not caught.value.retryable
        assert len(server.requests) == 2

    def test_a_wait_ends_when_nobody_waits_for_the_work(self):
        with cancel_when(lambda: True), pytest.raises(Cancelled):
            wait(Wait("x", 60, 2, 2))

        def gone(_):
            raise Cancelled("the listener has gone")

        with on_wait(gone), pytest.raises(Cancelled):
            wait(Wait("x", 60, 2, 2))

    def test_a_stream_is_begun_anew_only_before_its_first_word(self, server):
        assert ask({"model": "openai:cut-before-a-word-once", "retries": 1}, streamed=True).text == TEXT
        with pytest.raises(ConnectionLost):
            ask({"model": "openai:half-closed", "retries": 3}, streamed=True)
        assert len(server.requests) == 3


class TestCache:
    def chat(self, tmp_path, name):
        spec = ChatModelSpec(model=f"openai:{name}", retries=0, timeout=2.0)
        return CachingChat(spec, name, ResponseCache(tmp_path / "responses.sqlite"))

    @pytest.mark.parametrize("streamed", [False, True])
    @pytest.mark.parametrize(
        ("name", "asked"),
        [("plain", 1), ("cut-at-max-tokens", 1), ("reasoning-content", 1), ("think-tags", 1), ("cut-by-filter", 2),
         ("end-not-said", 2), ("end-is-unknown", 2), ("refusal", 2), ("empty-text", 2), ("reasoning-only", 2), ("half-closed", 2)],
    )  # fmt: skip
    def test_only_replies_that_would_come_again_are_kept(self, server, tmp_path, name, asked, streamed):
        replies = []
        for _ in range(2):
            try:
                listener = (lambda _: None) if streamed else None
                replies.append(ask_model(self.chat(tmp_path, name), QUESTION, on_token=listener))
            except ModelError as error:
                replies.append(str(error))
        assert len(server.requests) == asked
        assert replies[0] == replies[1]


def test_the_server_forgets_on_demand(server):
    ask({"model": "openai:busy-twice", "retries": 2})
    server.reset()
    with pytest.raises(ModelError, match="429"):
        ask({"model": "openai:busy-twice"})
