"""OpenAI's interface, used by the official client, by LangChain and by curl."""

from __future__ import annotations

import json
import subprocess
import threading

import numpy as np
import openai
import pytest
from serving import QUESTION, SAID, events, knowledge, running

from llmkit.encoders.hashing import HashingEncoder
from llmkit.errors import ModelError

pytestmark = pytest.mark.network


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    knowledge(folder / "kb")
    with running(folder) as served:
        yield served


@pytest.fixture
def client(served):
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def said(text):
    return [{"role": "user", "content": text}]


def test_models_are_the_pipelines_and_the_encoder(client):
    assert [model.id for model in client.models.list()] == ["quote", "write", "checked", "free", "find", "encoder"]
    assert client.models.retrieve("write").owned_by == "llmkit"
    with pytest.raises(openai.NotFoundError, match="did you mean 'write'"):
        client.models.retrieve("wriet")


def test_an_answer_has_citations_and_a_trace_in_the_extension_field(client, served):
    done = client.chat.completions.create(model="quote", messages=said(QUESTION), temperature=0.2)
    assert done.choices[0].message.content == "The mill is serviced in August. [1]"
    assert done.choices[0].finish_reason == "stop"
    extension = done.model_extra["llmkit"]
    (citation,) = extension["citations"]
    assert citation["document"] == "mill"
    assert citation["supported"]
    assert citation["quote"] == "The mill is serviced in August."
    assert extension["notes"] == ["'temperature' has no effect: the pipeline sets it"]
    trace = served.http.get(f"/api/traces/{extension['trace']}").json()
    assert trace["asked"] == QUESTION
    assert [record["step"] for record in trace["records"]][-1] == "steps[2] extract"


def test_a_stream_adds_up_to_the_answer(client):
    with client.chat.completions.create(
        model="write", messages=said(QUESTION), stream=True, stream_options={"include_usage": True}
    ) as stream:
        chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text.strip() == SAID.strip()
    assert sum(bool(chunk.choices and chunk.choices[0].delta.content) for chunk in chunks) > 3
    (last,) = [chunk for chunk in chunks if chunk.choices and chunk.choices[0].finish_reason]
    assert last.model_extra["llmkit"]["citations"][0]["document"] == "mill"
    assert chunks[-1].usage.completion_tokens == 7


def test_text_that_a_later_step_removes_is_never_streamed(tmp_path):
    knowledge(tmp_path / "kb")
    script = "The mill is serviced in August [1]. Dragons live in the mill and eat the miller's sheep [1]."
    with running(tmp_path, script) as served, openai.OpenAI(base_url=f"{served.url}/v1", api_key="x") as client:
        with client.chat.completions.create(model="checked", messages=said(QUESTION), stream=True) as stream:
            text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
        whole = client.chat.completions.create(model="checked", messages=said(QUESTION)).choices[0].message.content
    assert text == whole == "The mill is serviced in August [1]."


def test_earlier_turns_are_the_history(client, served):
    turns = [*said(QUESTION), {"role": "assistant", "content": "In August."}, *said("And in September?")]
    done = client.chat.completions.create(model="quote", messages=turns)
    trace = served.http.get(f"/api/traces/{done.model_extra['llmkit']['trace']}").json()
    assert trace["question"] == f"{QUESTION} And in September?"
    assert trace["asked"] == "And in September?"


def test_a_pipeline_without_an_answer_gives_its_passages(client):
    done = client.chat.completions.create(model="find", messages=said(QUESTION))
    assert done.choices[0].message.content.startswith("[1] The mill is serviced in August.")


def test_responses(client):
    done = client.responses.create(model="write", input=QUESTION, instructions="Be brief.")
    assert done.output_text == SAID.strip()
    assert done.usage.output_tokens == 7
    assert done.model_extra["llmkit"]["citations"][0]["document"] == "mill"
    with client.responses.stream(model="write", input=said(QUESTION)) as stream:
        pieces = [event.delta for event in stream if event.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert "".join(pieces).strip() == final.output_text.strip() == SAID.strip()
    with pytest.raises(openai.BadRequestError, match="previous_response_id"):
        client.responses.create(model="write", input=QUESTION, previous_response_id="resp_1")


def test_embeddings_are_the_encoders(client):
    texts = ["The pump.", "Der Müller 🌾"]
    for coded in ("float", "base64"):
        done = client.embeddings.create(model="encoder", input=texts, encoding_format=coded)
        found = [row.embedding for row in done.data]
        if coded == "base64":
            import base64

            found = [np.frombuffer(base64.b64decode(row), "<f4") for row in found]
        assert np.allclose(found, HashingEncoder().encode_passages(texts), atol=1e-6)
    assert len(client.embeddings.create(model="encoder", input="x").data[0].embedding) == HashingEncoder().dim
    with pytest.raises(openai.BadRequestError, match="dimensions"):
        client.embeddings.create(model="encoder", input="x", dimensions=7)
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model="text-embedding-3-small", input="x")


def test_langchain_asks_and_streams(served):
    from langchain_openai import ChatOpenAI, OpenAIEmbeddings

    chat = ChatOpenAI(model="write", base_url=f"{served.url}/v1", api_key="none", temperature=0)
    assert chat.invoke(QUESTION).text.strip() == SAID.strip()
    pieces = [piece.text for piece in chat.stream(QUESTION)]
    assert "".join(pieces).strip() == SAID.strip()
    assert len([piece for piece in pieces if piece]) > 3
    embed = OpenAIEmbeddings(
        model="encoder", base_url=f"{served.url}/v1", api_key="none", check_embedding_ctx_length=False
    )
    assert np.allclose(embed.embed_query("pump"), HashingEncoder().encode_passages(["pump"])[0], atol=1e-6)


def test_curl(served):
    body = json.dumps({"model": "quote", "messages": said(QUESTION)})
    done = subprocess.run(
        ["curl", "-sS", f"{served.url}/v1/chat/completions", "-H", "Content-Type: application/json", "-d", body],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout)["choices"][0]["message"]["content"] == "The mill is serviced in August. [1]"


@pytest.mark.parametrize(
    ("change", "status", "says"),
    [
        ({"model": "gpt-5"}, 404, "unknown model 'gpt-5'"),
        ({"messages": []}, 422, "messages"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, 400, "the last message must have the role 'user'"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, 400, "the role 'wizard' is unknown"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, 400, "only text is accepted"),
        ({"messages": [{"role": "user", "content": " "}]}, 400, "the question is empty"),
        ({"messages": [{"role": "user", "content": "x" * 20_001}]}, 413, "the limit is 20000"),
        ({"n": 2}, 400, "'n' is not supported"),
        ({"tools": [{"type": "function"}]}, 400, "'tools' is not supported"),
        ({"response_format": {"type": "json_object"}}, 400, "'response_format' is not supported"),
        ({"tempreature": 1}, 400, "unknown parameters: tempreature"),
    ],
)  # fmt: skip
def test_unsupported_requests_are_refused_with_a_reason(served, change, status, says):
    reply = served.http.post("/v1/chat/completions", json={"model": "quote", "messages": said("x"), **change})
    assert reply.status_code == status
    assert says in reply.json()["error"]["message"]
    assert reply.json()["error"]["request_id"] == reply.headers["x-request-id"]


def test_a_model_that_fails_is_503_and_recovers(tmp_path):
    knowledge(tmp_path / "kb")
    outputs = [ModelError("the model crashed"), RuntimeError("segfault"), "It is August [1]."]
    with running(tmp_path, outputs) as served:
        for words in ("the model crashed", "the model failed: RuntimeError: segfault"):
            reply = served.http.post("/v1/chat/completions", json={"model": "write", "messages": said(QUESTION)})
            assert reply.status_code == 503
            assert words in reply.json()["error"]["message"]
            assert reply.headers["retry-after"]
        body = {"model": "write", "messages": said(QUESTION)}
        assert served.http.post("/v1/chat/completions", json=body).status_code == 200
        streamed = served.http.post("/v1/chat/completions", json={**body, "stream": True})
        assert streamed.status_code == 503  # the script has run out: told before the stream begins


def test_a_model_that_fails_in_the_middle_ends_the_stream_with_an_error(tmp_path):
    knowledge(tmp_path / "kb")

    class Breaks(str):
        pass

    with running(tmp_path, "One two three four.") as served:
        stream = type(served.model)._stream

        def broken(self, *args, **kwargs):
            for n, chunk in enumerate(stream(self, *args, **kwargs)):
                if n == 2:
                    raise RuntimeError("the power is out")
                yield chunk

        with pytest.MonkeyPatch.context() as patch, openai.OpenAI(base_url=f"{served.url}/v1", api_key="x") as client:
            patch.setattr(type(served.model), "_stream", broken)
            got = []
            with (
                pytest.raises(openai.APIError, match="the power is out"),
                client.chat.completions.create(model="write", messages=said(QUESTION), stream=True) as chunks,
            ):
                got.extend(chunk.choices[0].delta.content for chunk in chunks)
            assert got == ["", "One ", "two "]


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_goes_away_stops_the_model(tmp_path, stream):
    knowledge(tmp_path / "kb")
    spoken, go = [], threading.Event()
    with running(tmp_path, "word " * 100_000) as served:
        words = type(served.model)._stream

        def slow(self, *args, **kwargs):
            for chunk in words(self, *args, **kwargs):
                spoken.append(chunk)
                go.wait(0.005)
                yield chunk

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(served.model), "_stream", slow)
            body = {"model": "write", "messages": said(QUESTION), "stream": stream}
            if stream:
                with served.http.stream("POST", "/v1/chat/completions", json=body) as reply:
                    next(events(reply))
            else:
                import httpx

                with pytest.raises(httpx.ReadTimeout):
                    served.http.post("/v1/chat/completions", json=body, timeout=0.5)
            served.until(lambda: served.service.runner.admission.busy == 0)
            count = len(spoken)
            go.wait(0.1)
            assert len(spoken) == count < 5000
    assert served.service.metrics.runs.labels("write", "stopped")._value.get() == 1


def test_without_documents_the_error_says_what_to_do(tmp_path):
    with running(tmp_path) as served:
        reply = served.http.post("/v1/chat/completions", json={"model": "quote", "messages": said(QUESTION)})
        assert reply.status_code == 409
        assert "add some on the page" in reply.json()["error"]["message"]
        free = served.http.post("/v1/chat/completions", json={"model": "free", "messages": said(QUESTION)})
        assert free.status_code == 200
