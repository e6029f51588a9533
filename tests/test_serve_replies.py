"""How a model's reply ended reaches the client: replies cut off, filtered, refused, empty, broken, and retries."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import openai
import pytest
from serving import events, running

from llmkit.models.chat import load_chat

pytestmark = pytest.mark.network
QUESTION = [{"role": "user", "content": "What does the lathe cost?"}]
REFUSAL = "I cannot help with prices."
REPLIES = {
    "whole": {"content": "The lathe costs 900 euros."},
    "cut": {"content": "The lathe costs 900", "finish_reason": "length"},
    "filtered": {"content": "The lathe costs", "finish_reason": "content_filter"},
    "unsaid": {"content": "The lathe costs 900 euros.", "finish_reason": ""},
    "refused": {"content": "", "refusal": REFUSAL},
    "spent": {"content": "", "reasoning": "Let me think about lathes.", "finish_reason": "length"},
    "withheld": {"content": "", "finish_reason": "content_filter"},
    "empty": {"content": ""},
}
ENDS = {
    "whole": "stop", "cut": "length", "filtered": "content_filter", "unsaid": None, "refused": "stop", "spent": "length",
    "withheld": "content_filter",
}  # fmt: skip
FREE = {"free": {"steps": ["generate"], "model": "scripted:x"}}


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A server whose model answers with the reply that `served.reply` names."""
    with running(tmp_path_factory.mktemp("replies"), lambda _: REPLIES[served.reply], FREE) as served:
        yield served


@pytest.fixture
def client(served):
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.mark.parametrize("name", ENDS)
def test_chat_completions_pass_the_finish_reason_and_the_refusal_on(served, client, name):
    served.reply = name
    done = client.chat.completions.create(model="free", messages=QUESTION)
    (choice,) = done.choices
    assert choice.finish_reason == ENDS[name]
    assert choice.message.content == REPLIES[name]["content"]
    assert choice.message.refusal == (REFUSAL if name == "refused" else None)
    extension = done.model_extra["llmkit"]
    assert extension["finish_reason"] == (ENDS[name] or "missing")
    assert extension["abstained"] is False
    if name != "whole":
        assert extension["notes"], "what is wrong with the reply stands in no note"

    chunks = list(
        client.chat.completions.create(
            model="free", messages=QUESTION, stream=True, stream_options={"include_usage": True}
        )
    )
    choices = [chunk.choices[0] for chunk in chunks if chunk.choices]
    assert "".join(one.delta.content or "" for one in choices).strip() == REPLIES[name]["content"]
    assert "".join(one.delta.refusal or "" for one in choices) == (REFUSAL if name == "refused" else "")
    assert [one.finish_reason for one in choices if one.finish_reason] == ([ENDS[name]] if ENDS[name] else [])
    assert chunks[-2].model_extra["llmkit"]["finish_reason"] == (ENDS[name] or "missing")
    assert chunks[-1].usage.total_tokens == done.usage.total_tokens


@pytest.mark.parametrize("name", ENDS)
def test_responses_are_incomplete_where_the_reply_is(served, client, name):
    served.reply = name
    reason = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(ENDS[name])
    status = "completed" if ENDS[name] == "stop" else "incomplete"
    done = client.responses.create(model="free", input=QUESTION)
    with client.responses.stream(model="free", input=QUESTION) as stream:
        kinds = [event.type for event in stream]
    streamed = _raw_events(served, {"model": "free", "input": QUESTION, "stream": True})
    assert kinds == [kind for kind, _ in streamed]
    assert kinds[-1] == f"response.{status}"
    for response in (done.model_dump(), streamed[-1][1]["response"]):
        assert response["status"] == status
        assert (response["incomplete_details"] or {}).get("reason") == reason
        (content,) = response["output"][0]["content"]
        if name == "refused":
            assert (content["type"], content["refusal"]) == ("refusal", REFUSAL)
        else:
            assert (content["type"], content["text"].strip()) == ("output_text", REPLIES[name]["content"])
    if name == "refused":
        assert {"response.refusal.delta", "response.refusal.done"} <= set(kinds)
        assert "response.output_text.done" not in kinds


def _raw_events(served, body):
    with served.http.stream("POST", "/v1/responses", json=body) as reply:
        return list(events(reply))


def test_no_reply_is_an_error_that_is_not_repeated(served, client):
    served.reply = "empty"
    calls = len(served.model.calls)
    for stream in (False, True):
        with pytest.raises(openai.InternalServerError, match="answered with no text") as caught:
            client.with_options(max_retries=2).chat.completions.create(model="free", messages=QUESTION, stream=stream)
        assert (caught.value.status_code, caught.value.code) == (502, "empty_reply")
    assert len(served.model.calls) == calls + 2


def test_a_conversation_shows_the_words_of_a_refusal(served):
    served.reply = "refused"
    with served.http.stream("POST", "/api/sessions/talk/turns", json={"question": "What does it cost?"}) as reply:
        *_, (kind, data) = events(reply)
    assert (kind, data["code"]) == ("error", "model_refusal")
    assert REFUSAL in data["message"]
    assert served.http.get("/api/sessions/talk").json()["turns"] == []


@pytest.fixture
def upstream(monkeypatch):
    """A server of OpenAI's interface on this machine; `upstream.replies` are its (status, headers, body) in order."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            status, headers, body = server.replies.pop(0) if server.replies else server.last
            self.send_response(status)
            for name, value in {"Connection": "close", **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{server.server_port}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    server.replies, server.last = [], (500, {}, b"")
    yield server
    server.shutdown()
    server.server_close()
    thread.join(10)


REMOTE = {"remote": {"steps": ["generate"], "model": {"model": "openai:lathe", "timeout": 10}}}
STREAM = {"Content-Type": "text/event-stream"}


def sse(*pieces, end="stop", done=True):
    """The body of a streamed reply."""
    rows = [{"choices": [{"index": 0, "delta": {"content": piece}}]} for piece in pieces]
    rows += [{"choices": [{"index": 0, "delta": {}, "finish_reason": end}]}] if end else []
    lines = [f"data: {row if isinstance(row, str) else json.dumps(row)}\n\n" for row in rows]
    return "".join([*lines, *(["data: [DONE]\n\n"] if done else [])]).encode()


def test_retries_show_in_the_stream(tmp_path, upstream):
    busy = (429, {"Retry-After": "1"}, b'{"error": {"message": "slow down"}}')
    with running(tmp_path, pipelines=REMOTE, load=load_chat) as served:
        upstream.replies = [busy, (200, STREAM, sse("900 ", "euros."))]
        with openai.OpenAI(base_url=f"{served.url}/v1", api_key="x", max_retries=0) as client:
            chunks = list(client.chat.completions.create(model="remote", messages=QUESTION, stream=True))
        notes = [
            chunk.model_extra["llmkit"] for chunk in chunks if "wait" in (chunk.model_extra or {}).get("llmkit", {})
        ]
        assert [note["wait"] for note in notes] == [1]
        assert "trying again in 1 s (2 of" in notes[0]["notes"][0]
        assert "Ctrl-C" not in notes[0]["notes"][0]
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "900 euros."

        upstream.replies = [busy, (200, STREAM, sse("900 euros."))]
        with served.http.stream(
            "POST", "/v1/responses", json={"model": "remote", "input": "x", "stream": True}
        ) as reply:
            text = "".join(reply.iter_text())
        assert "\n: " in text
        assert "trying again in 1 s" in text

        upstream.replies = [busy, (200, STREAM, sse("900 euros."))]
        with served.http.stream("POST", "/api/sessions/s/turns", json={"question": "x"}) as reply:
            told = list(events(reply))
        assert [data["wait"] for kind, data in told if kind == "note" and "wait" in data] == [1]
        assert told[-1][1]["text"] == "900 euros."


def test_an_error_inside_a_200_is_an_error_of_the_stream_and_never_an_answer(tmp_path, upstream):
    page = (200, {"Content-Type": "text/html"}, b"<html><body>Sign in to the proxy</body></html>")
    error = b'data: {"error": {"message": "the card fell off the bus", "code": 500}}\n\n'
    broken = (200, STREAM, sse("The lathe ", "costs ", end="", done=False) + error)
    stump = (200, STREAM, sse("The lathe ", "costs ", end="", done=False))
    with running(tmp_path, pipelines=REMOTE, load=load_chat) as served:
        client = openai.OpenAI(base_url=f"{served.url}/v1", api_key="x", max_retries=0)
        for reply, words in ((broken, "the card fell off the bus"), (stump, ""), (page, "")):
            upstream.replies, upstream.last = [], reply
            got = []
            with pytest.raises(openai.APIError, match=words):
                got.extend(
                    chunk.choices[0].delta.content
                    for chunk in client.chat.completions.create(model="remote", messages=QUESTION, stream=True)
                )
            assert "".join(one or "" for one in got) in ("", "The lathe costs ")
            done = served.http.post("/v1/chat/completions", json={"model": "remote", "messages": QUESTION})
            assert done.status_code in (502, 503), done.text
        client.close()


@pytest.mark.parametrize(
    ("pieces", "shown"), [(("\ud83d", "\ude00 ok"), "😀 ok"), (("half \ud83d", " ok"), "half \ufffd ok")]
)
def test_halves_of_characters_are_joined_or_replaced(tmp_path, upstream, pieces, shown):
    with running(tmp_path, pipelines=REMOTE, load=load_chat) as served:
        upstream.last = (200, STREAM, sse(*pieces))
        with openai.OpenAI(base_url=f"{served.url}/v1", api_key="x", max_retries=0) as client:
            chunks = list(client.chat.completions.create(model="remote", messages=QUESTION, stream=True))
            assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == shown
        half = served.http.post(
            "/api/sessions/talk/turns",
            content=rb'{"question": "x \ud800 y"}',
            headers={"Content-Type": "application/json"},
        )
        assert half.status_code == 422
        assert "question: " in half.json()["error"]["message"]
        with served.http.stream("POST", "/api/sessions/talk/turns", json={"question": "x"}) as reply:
            *_, (kind, data) = events(reply)
        assert (kind, data["text"]) == ("done", shown)
        (turn,) = served.http.get("/api/sessions/talk").json()["turns"]
        assert turn["text"] == shown
        assert served.http.get(f"/api/traces/{data['trace']}").json()["answer"]["text"] == shown
        assert shown in served.http.get("/api/sessions/talk/markdown").text
