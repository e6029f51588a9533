"""Load and limits: full queues, slow and large requests, clients that leave, and shutdown."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from serving import QUESTION, knowledge, running

from llmkit.serve.errors import HttpError
from llmkit.serve.runtime.admission_queue import AdmissionQueue

pytestmark = pytest.mark.network


def body(model="write", stream=True):
    return {"model": model, "stream": stream, "messages": [{"role": "user", "content": QUESTION}]}


class Gate:
    """A scripted model that waits for `go`; `inside` counts its calls."""

    def __init__(self):
        self.go, self.inside = threading.Event(), 0

    def __call__(self, _):
        self.inside += 1
        assert self.go.wait(30)
        return "It is August [1]."


def raw(served, *pieces, pause=0.0):
    """Send bytes as they are; return what came back until the server closed, and the seconds that took."""
    host, port = served.url.removeprefix("http://").split(":")
    begun = time.monotonic()
    with socket.create_connection((host, int(port)), timeout=30) as one:
        got = b""
        try:
            for piece in pieces:
                one.sendall(piece)
                time.sleep(pause)
            while chunk := one.recv(65536):
                got += chunk
        except (ConnectionError, BrokenPipeError):
            pass
        return got, time.monotonic() - begun


def test_the_admission_queue_is_bounded_and_moves_on(tmp_path):
    knowledge(tmp_path / "kb")
    gate = Gate()
    with running(tmp_path, gate, slots=2, max_waiting=3) as served, ThreadPoolExecutor(20) as pool:
        post = lambda: httpx.post(f"{served.url}/v1/chat/completions", json=body(stream=False), timeout=30)  # noqa: E731
        held = [pool.submit(post) for _ in range(5)]
        admission = served.service.runner.admission
        served.until(lambda: (admission.busy, admission.waiting, gate.inside) == (2, 3, 2))
        refused = [pool.submit(post).result() for _ in range(4)]
        for reply in refused:
            assert reply.status_code == 429
            assert int(reply.headers["retry-after"]) >= 1
            assert reply.json()["error"]["code"] == "busy"
        assert served.http.get("/healthz").status_code == 200  # the server itself is not busy
        gate.go.set()
        assert [one.result().status_code for one in held] == [200] * 5
        served.until(lambda: admission.busy == 0)
        assert post().status_code == 200


def test_a_client_that_leaves_the_queue_frees_its_place(tmp_path):
    knowledge(tmp_path / "kb")
    gate = Gate()
    with running(tmp_path, gate, slots=1, max_waiting=1) as served, ThreadPoolExecutor(4) as pool:
        first = pool.submit(httpx.post, f"{served.url}/v1/chat/completions", json=body(stream=False), timeout=30)
        served.until(lambda: gate.inside == 1)
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{served.url}/v1/chat/completions", json=body(), timeout=0.3)
        served.until(lambda: served.service.runner.admission.waiting == 0)
        gate.go.set()
        assert first.result().status_code == 200
        assert gate.inside == 1


def test_the_admission_queue_counts_slots_when_a_waiter_is_cancelled():
    async def play():
        admission = AdmissionQueue(2, 2)
        one, two = await admission.acquire(), await admission.acquire()
        third, fourth = asyncio.create_task(admission.acquire()), asyncio.create_task(admission.acquire())
        await asyncio.sleep(0)
        with pytest.raises(HttpError, match="with 2 answers running and 2 waiting"):
            admission.check_capacity()
        admission.release(one)
        third.cancel()  # let in and cancelled in the same moment: the fourth gets the place
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert fourth.done()
        assert (admission.busy, admission.waiting) == (2, 0)
        admission.release(two)
        admission.release(fourth.result())
        assert admission.busy == 0

    asyncio.run(play())


@pytest.mark.slow
def test_sixty_four_streams_at_once(tmp_path):
    knowledge(tmp_path / "kb")
    text = " ".join(f"word{n}" for n in range(50)) + " [1]."
    with running(tmp_path, text) as served:

        async def one(client):
            said = ""
            async with client.stream("POST", "/v1/chat/completions", json=body()) as reply:
                assert reply.status_code == 200
                async for line in reply.aiter_lines():
                    found = re.search(r'"content": "((?:[^"\\]|\\.)*)"', line)
                    said += found.group(1) if found else ""
            return said

        async def all_of_them():
            limits = httpx.Limits(max_connections=64)
            async with httpx.AsyncClient(base_url=served.url, timeout=60, limits=limits) as client:
                return await asyncio.gather(*(one(client) for _ in range(64)))

        assert {said.strip() for said in asyncio.run(all_of_them())} == {text}


def test_slow_and_huge_heads_and_bodies_are_bounded(tmp_path):
    knowledge(tmp_path / "kb")
    with running(tmp_path, read_seconds=0.5, max_upload=20_000, min_body_rate=1_000_000) as served:
        head = b"POST /api/knowledge/files HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        got, took = raw(served)  # says nothing
        assert (got, took < 5) == (b"", True)
        got, took = raw(served, *[b"GET / HTTP/1.1\r\n", *[b"X-A: b\r\n"] * 10], pause=0.2)  # a header at a time
        assert b" 200 " not in got
        assert took < 5
        got, took = raw(served, b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 400_000)
        assert b" 200 " not in got
        got, took = raw(served, head + b"Content-Length: 9000\r\n\r\n", b"--x\r\n", pause=0.1)
        assert b" 408 " in got.split(b"\r\n")[0]
        assert took < 5
        got, _ = raw(served, head + b"Content-Length: 1000000\r\n\r\n")
        assert b" 413 " in got.split(b"\r\n")[0]
        endless = b"".join(b"1000\r\n" + b"a" * 4096 + b"\r\n" for _ in range(20))
        start = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n'
        got, _ = raw(served, head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(start), start) + endless)
        assert b" 413 " in got.split(b"\r\n")[0]
        got, _ = raw(served, b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n")
        assert b" 400 " in got.split(b"\r\n")[0]
        reply = served.http.post("/v1/chat/completions", content=b'{"model": "' + b"a" * 1_100_000)
        assert reply.status_code == 413
        assert served.upload("ok.txt", "It is fine.").status_code == 202
        assert not list((tmp_path / "serve").rglob("*.part"))


SERVER = """
import sys, threading, time
from pathlib import Path
from llmkit.models.scripted import ScriptedChat
from llmkit.pipeline.pipeline import Pipeline
from llmkit.serve.runtime.pipeline_registry import PipelineRegistry
from llmkit.serve.server import create_server
from llmkit.serve.settings import Settings
from llmkit.serve.runtime.knowledge_pool import KnowledgePool
folder = Path(sys.argv[1])
def slow(_):
    time.sleep(float(sys.argv[2]))
    return "It is August [1]."
settings = Settings(port=0, knowledge=folder / "kb", data=folder / "serve", sessions=folder / "s.sqlite", grace=float(sys.argv[3]))
registry = lambda: PipelineRegistry([Pipeline.model_validate({"name": "write", "steps": ["retrieve", "answer"], "model": "scripted:x"})],
                    KnowledgePool(settings.knowledge), lambda _: ScriptedChat(slow))
create_server(settings, registry, lambda url: print(url, flush=True)).run()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
@pytest.mark.parametrize(("works", "grace", "answered"), [(1.5, 10, True), (30, 0.5, False)])
def test_a_stop_lets_running_answers_end_within_the_grace(tmp_path, works, grace, answered):
    knowledge(tmp_path / "kb")
    command = [sys.executable, "-c", SERVER, str(tmp_path), str(works), str(grace)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process, ThreadPoolExecutor(1) as pool:
        url = process.stdout.readline().strip()
        answer = pool.submit(httpx.post, f"{url}v1/chat/completions", json=body(stream=False), timeout=60)
        time.sleep(0.7)
        begun = time.monotonic()
        os.kill(process.pid, signal.SIGTERM)
        if answered:
            assert answer.result().status_code == 200
            assert process.wait(20) in (0, -signal.SIGTERM)
        else:
            assert answer.result().status_code == 503
            assert answer.result().json()["error"]["code"] == "stopped"
            process.wait(20)
        assert time.monotonic() - begun < 15


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_memory_does_not_grow_with_requests(tmp_path):
    """A short form of `python benchmarks/serving.py memory`; it would show an answer or stream that stays in memory."""

    def resident():
        return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

    if not os.path.exists("/proc/self/statm"):
        pytest.skip("needs /proc")
    knowledge(tmp_path / "kb")

    def said(_):
        served.model.calls.clear()  # it would remember every one
        return "It is August [1]. " * 20

    with running(tmp_path, said, max_traces=50) as served:
        after = []
        for n in range(800):
            if n % 4 == 3:  # left in the middle
                with served.http.stream("POST", "/v1/chat/completions", json=body()) as reply:
                    assert reply.status_code == 200
                    next(reply.iter_lines())
            else:
                reply = served.http.post(
                    "/v1/chat/completions", json=body("quote" if n % 2 else "write", stream=n % 4 == 2)
                )
                assert reply.status_code == 200
                assert "August" in reply.text
            if n % 200 == 199:
                after.append(resident())
        served.until(lambda: served.service.runner.admission.busy == 0)
        assert not served.service.runner.has_unfinished_jobs
    assert after[-1] - after[1] < 8, after  # MB, over 400 requests


def test_a_stream_that_nobody_reads_holds_no_slot(tmp_path):
    knowledge(tmp_path / "kb")
    with running(tmp_path, "word " * 30_000, slots=1) as served:
        host, port = served.url.removeprefix("http://").split(":")
        import json

        content = json.dumps(body()).encode()
        with socket.create_connection((host, int(port))) as one:
            one.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n")
            one.sendall(b"Content-Length: %d\r\n\r\n" % len(content) + content)
            served.until(lambda: served.service.runner.admission.busy == 1)
            served.until(lambda: served.service.runner.admission.busy == 0)  # the run ends though its events wait
            reply = served.http.post("/v1/chat/completions", json=body("quote", stream=False))
            assert reply.status_code == 200
