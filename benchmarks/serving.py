"""The cost of the server: overhead over Python, time to the first token, many streams, and requests per second.

    python benchmarks/serving.py [overhead] [first] [streams] [rate] [--peers benchmarks/.venv-serving/bin/python]
    python benchmarks/serving.py memory [--requests 10000]

Without names, everything but `memory` runs. The model is scripted and takes no time, and the script creates the
documents. Calls in Python and over HTTP alternate, so that other work on the machine affects both. A pause after each
call lets the server write its trace, which delays no answer and counts in the server's processor time. The client is
Python's http.client on one connection. `rate` needs `make benchmarks/.venv-serving/stamp`; llmkit and hayhooks then
answer one question with the same text, in a process each, one after the other, and the order changes with each round.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx

HERE = Path(__file__).resolve().parent
QUESTION = "When is mill 7 serviced?"
WORDS = 64
REPLY = " ".join(f"word{n}" for n in range(WORDS))
REPLY_OF_ONE_PIECE = REPLY.replace(" ", "_")  # a stream of one piece, as hayhooks sends it
PAUSE = 0.1  # seconds after a request, in which its trace is written and an abandoned run ends
LOCAL = "local:smollm2"
PIPELINES = {
    "free": {"model": "scripted:x", "steps": ["generate"]},
    "look": {"model": "scripted:x", "steps": ["retrieve", "answer"]},
    "local": {"model": LOCAL, "steps": ["retrieve", {"type": "answer", "passages": 3}]},
}


def pipelines():
    from llmkit.pipeline.pipeline import Pipeline

    return [Pipeline.model_validate({"name": name, **one}) for name, one in PIPELINES.items()]


def registry(folder: Path, text: str = REPLY):
    from llmkit.models.chat import load_chat
    from llmkit.models.scripted import ScriptedChat
    from llmkit.serve.runtime.knowledge_pool import KnowledgePool
    from llmkit.serve.runtime.pipeline_registry import PipelineRegistry

    def reply(_) -> str:
        scripted.calls.clear()  # the scripted model would keep every call
        return text

    scripted = ScriptedChat(reply)
    return PipelineRegistry(
        pipelines(),
        KnowledgePool(folder / "kb"),
        lambda spec: load_chat(spec) if spec.model == LOCAL else scripted,
    )


def knowledge(folder: Path) -> None:
    from llmkit.encoders.hashing import HashingEncoder
    from llmkit.knowledge.knowledge_base import KnowledgeBase
    from llmkit.types import Document

    with KnowledgeBase.create(folder / "kb", encoder=HashingEncoder()) as kb:
        kb.add(Document(f"mill{n}", f"Mill {n} is serviced in month {n % 12 + 1}.") for n in range(1000))


class ServerProcess:
    """A server in its own process, as `llmkit serve` runs."""

    def __init__(self, folder: Path, text: str = REPLY) -> None:
        self.log = (folder / "log").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, __file__, "serve", str(folder), text], stdout=subprocess.PIPE, stderr=self.log, text=True
        )
        self.url = self.process.stdout.readline().strip().rstrip("/")

    def __enter__(self) -> str:
        return self.url

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(30)
        self.log.close()

    def processor(self) -> float:
        """Milliseconds of processor time so far; 0 where there is no /proc."""
        path = Path(f"/proc/{self.process.pid}/stat")
        ticks = path.read_text().rpartition(")")[2].split()[11:13] if path.exists() else ()
        return 1000 * sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


def serve(folder: Path, text: str) -> None:
    from llmkit.serve.runtime.log import log_to_stderr
    from llmkit.serve.server import create_server
    from llmkit.serve.settings import Settings

    log_to_stderr()
    settings = Settings(port=0, knowledge=folder / "kb", data=folder / "serve", sessions=folder / "s.sqlite", grace=1,
                        max_traces=500)  # fmt: skip
    create_server(settings, lambda: registry(folder, text), lambda url: print(url, flush=True)).run()


class Client:
    """Sends requests on one connection. Calling it with a path and a body posts JSON."""

    def __init__(self, url: str) -> None:
        self.connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=120)

    def __call__(self, path: str, content: dict) -> http.client.HTTPResponse:
        self.connection.request("POST", path, json.dumps(content), {"Content-Type": "application/json"})
        return self.connection.getresponse()

    def get(self, path: str, method: str = "GET") -> http.client.HTTPResponse:
        self.connection.request(method, path)
        return self.connection.getresponse()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()


def body(model: str, stream: bool = False, question: str = QUESTION) -> dict:
    return {"model": model, "stream": stream, "messages": [{"role": "user", "content": question}]}


def overhead(folder: Path, rounds: int = 150) -> None:
    """Print the milliseconds of a call in Python and over HTTP."""
    here = registry(folder)
    server = ServerProcess(folder)
    with server as url, Client(url) as post:
        for model in ("free", "look"):
            times: dict[str, list[float]] = {"python": [], "http": []}
            spent = processor = 0.0
            with here.lease(model, None) as pipeline:
                for n in range(rounds + 20):
                    if n == 20:
                        spent, processor = 0.0, server.processor()
                    before, began = time.process_time(), time.perf_counter()
                    pipeline.run(QUESTION)
                    middle = time.perf_counter()
                    spent += 1000 * (time.process_time() - before)
                    reply = post("/v1/chat/completions", body(model))
                    answer = reply.read()
                    ended = time.perf_counter()
                    assert reply.status == 200, answer
                    time.sleep(PAUSE)
                    if n >= 20:
                        times["python"].append(1000 * (middle - began))
                        times["http"].append(1000 * (ended - middle))
            python, http_ = (statistics.median(times[name]) for name in ("python", "http"))
            p95 = sorted(times["http"])[int(0.95 * rounds)]
            print(f"overhead {model}: python {python:.2f} ms, http {http_:.2f} ms p50 ({p95:.2f} p95): ", end="")
            minima = min(times["http"]) - min(times["python"])
            print(f"{http_ - python:+.2f} ms; difference of the minima {minima:+.2f} ms; ", end="")
            more = (server.processor() - processor) / rounds - spent / rounds
            print(f"processor time {spent / rounds:.2f} ms, {more:+.2f} ms")
    here.knowledge.close()


def first(folder: Path) -> None:
    """Print the milliseconds to the first token, with the scripted model and with SmolLM2."""
    here = registry(folder)
    with ServerProcess(folder) as url:
        for model, rounds, pause in (("look", 100, PAUSE), ("local", 24, 1.0)):
            if model == "local" and not _weights():
                print(f"first token: {LOCAL} is missing; run: llmkit models pull smollm2")
                continue
            python, http_ = [], []
            with here.lease(model, None) as pipeline:
                for n in range(rounds + 4):
                    question = f"When is mill {n} serviced?"  # so that no cache holds the reply or the whole prompt
                    began = time.perf_counter()
                    for event in (stream := pipeline.stream(question)):
                        if event.kind == "token" and event.text:
                            break
                    middle = time.perf_counter()
                    stream.close()
                    time.sleep(pause)
                    with Client(url) as post:
                        begun = time.perf_counter()
                        reply = post("/v1/chat/completions", body(model, stream=True, question=question))
                        while '"content": ' not in (line := reply.readline().decode()) or '"content": ""' in line:
                            assert line, "the stream ended without a token"
                        got = time.perf_counter()
                    time.sleep(pause)
                    if n >= 4:
                        python.append(1000 * (middle - began))
                        http_.append(1000 * (got - begun))
            a, b = statistics.median(python), statistics.median(http_)
            name = PIPELINES[model]["model"] if model == "local" else "scripted"
            least = min(http_) - min(python)
            print(
                f"first token {name}: python {a:.2f} ms, http {b:.2f} ms p50: {b - a:+.2f} ms, {b / a - 1:+.1%}; ",
                end="",
            )
            print(f"difference of the minima {least:+.2f} ms; {rounds} rounds")
    here.knowledge.close()


def _weights() -> bool:
    from llmkit import weights
    from llmkit.errors import LlmkitError

    try:
        weights.find("smollm2")
    except LlmkitError:
        return False
    return True


def streams(folder: Path, count: int = 64) -> None:
    """Run many streams at the same time, and compare each with the reply of the model."""

    async def one(client: httpx.AsyncClient) -> bool:
        text = ""
        async with client.stream("POST", "/v1/chat/completions", json=body("look", True)) as reply:
            async for line in reply.aiter_lines():
                if line.startswith("data: {"):
                    choices = json.loads(line[6:]).get("choices") or [{}]
                    text += choices[0].get("delta", {}).get("content") or ""
        return reply.status_code == 200 and text == REPLY

    async def every(url: str) -> tuple[int, float]:
        limits = httpx.Limits(max_connections=count)
        async with httpx.AsyncClient(base_url=url, timeout=60, limits=limits) as client:
            await one(client)
            began = time.perf_counter()
            good = sum(await asyncio.gather(*(one(client) for _ in range(count))))
            return good, time.perf_counter() - began

    with ServerProcess(folder) as url:
        good, took = asyncio.run(every(url))
        print(f"streams: {good} of {count} complete, {took:.2f} s, {count * WORDS / took:.0f} tokens/s")


def rate(folder: Path, peers: str | None, rounds: int = 3, seconds: float = 4.0) -> None:
    """Print the requests per second of eight clients, and those of hayhooks."""
    if peers is None:
        print("rate: pass --peers to compare with hayhooks")

    def load(url: str, path: str, content: dict, expected: str) -> float:
        done, until = [0] * 8, time.perf_counter() + seconds

        def ask(n: int) -> None:
            with Client(url) as post:
                while time.perf_counter() < until:
                    reply = post(path, content)
                    text = reply.read().decode()
                    assert reply.status == 200, text
                    assert expected in text, text
                    done[n] += 1

        threads = [threading.Thread(target=ask, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(done), "a client failed"
        return sum(done) / seconds

    def measure_llmkit() -> float:
        with ServerProcess(folder, REPLY_OF_ONE_PIECE) as url:
            load_once(url, "free")
            return load(url, "/v1/chat/completions", body("free"), REPLY_OF_ONE_PIECE)

    def load_once(url: str, model: str) -> None:
        httpx.post(f"{url}/v1/chat/completions", json=body(model), timeout=60).raise_for_status()

    def measure_hayhooks() -> float:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [str(peers), str(HERE / "peers" / "hayhooks_server.py"), str(port), REPLY_OF_ONE_PIECE]
        environment = {**os.environ, "HAYSTACK_TELEMETRY_ENABLED": "false", "PYTHONPATH": ""}
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            url = f"http://127.0.0.1:{port}"
            for _ in range(300):
                try:
                    httpx.post(f"{url}/chat/completions", json=body("fixed"), timeout=60).raise_for_status()
                    break
                except httpx.TransportError:
                    time.sleep(0.2)
            return load(url, "/chat/completions", body("fixed"), REPLY_OF_ONE_PIECE)
        finally:
            process.terminate()
            process.wait(30)

    rates_by_server: dict[str, list[float]] = {"llmkit": [], "hayhooks": []}
    sides = [("llmkit", measure_llmkit)] + ([("hayhooks", measure_hayhooks)] if peers else [])
    for n in range(rounds):
        for name, measure in sides if n % 2 == 0 else reversed(sides):
            rates_by_server[name].append(measure())
    for name, rates in rates_by_server.items():
        if rates:
            each = ", ".join(f"{one:.0f}" for one in rates)
            print(f"rate {name}: {statistics.median(rates):.0f} requests/s (median of {each})")


def main() -> None:
    sys.modules["serving"] = sys.modules["__main__"]  # serving_memory imports it under this name
    if sys.argv[1:2] == ["serve"]:
        serve(Path(sys.argv[2]), sys.argv[3])
        return
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", default=["overhead", "first", "streams", "rate"])
    parser.add_argument("--peers")
    parser.add_argument("--requests", type=int, default=10_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        knowledge(folder)
        known = {"overhead": overhead, "first": first, "streams": streams}
        for one in given.names:
            if one == "rate":
                rate(folder, given.peers)
            elif one == "memory":
                from serving_memory import memory

                memory(folder, given.requests)
            else:
                known[one](folder)


if __name__ == "__main__":
    main()
