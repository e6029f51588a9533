"""What the server costs: beside the same pipeline in Python, at first tokens, with many streams, beside hayhooks.

    python benchmarks/serving.py [overhead] [first] [streams] [rate] [--peers benchmarks/.venv-serving/bin/python]

The model is scripted and costs nothing, documents are made here. Without names, all of them. Calls in Python and over
HTTP alternate, so that the machine's moods hit both. `rate` needs `make benchmarks/.venv-serving/stamp`; both servers
then answer one question with one fixed text, one process each, one after the other, the order swapped each round.
"""

from __future__ import annotations

import argparse
import asyncio
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

import httpx

HERE = Path(__file__).resolve().parent
QUESTION = "When is mill 7 serviced?"
WORDS = 64
SAID = " ".join(f"word{n}" for n in range(WORDS))
ONE = SAID.replace(" ", "_")  # one piece: hayhooks is given its text whole, too
PIPELINES = {
    "free": {"model": "scripted:x", "steps": ["generate"]},
    "look": {"model": "scripted:x", "steps": ["retrieve", "answer"]},
}


def pipelines():
    from llmkit.pipeline.pipeline import Pipeline

    return [Pipeline.model_validate({"name": name, **one}) for name, one in PIPELINES.items()]


def menu(folder: Path, text: str = SAID):
    from llmkit.models.scripted import ScriptedChat
    from llmkit.serve.menu import Menu
    from llmkit.serve.shelf import Shelf

    return Menu(pipelines(), Shelf(folder / "kb"), lambda _: ScriptedChat(lambda _: text))


def knowledge(folder: Path) -> None:
    from llmkit.encoders.hashing import HashingEncoder
    from llmkit.knowledge.base import KnowledgeBase
    from llmkit.types import Document

    with KnowledgeBase.create(folder / "kb", encoder=HashingEncoder()) as kb:
        kb.add(Document(f"mill{n}", f"Mill {n} is serviced in month {n % 12 + 1}.") for n in range(1000))


class Running:
    """A server in a process of its own, as `llmkit serve` is."""

    def __init__(self, folder: Path, text: str = SAID) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, "serve", str(folder), text], stdout=subprocess.PIPE, text=True
        )
        self.url = self.process.stdout.readline().strip().rstrip("/")

    def __enter__(self) -> str:
        return self.url

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(30)


def serve(folder: Path, text: str) -> None:
    from llmkit.serve.server import make_server
    from llmkit.serve.settings import Settings

    settings = Settings(port=0, knowledge=folder / "kb", data=folder / "serve", sessions=folder / "s.sqlite", grace=1)
    make_server(settings, lambda: menu(folder, text), lambda url: print(url, flush=True)).run()


def body(model: str, stream: bool = False) -> dict:
    return {"model": model, "stream": stream, "messages": [{"role": "user", "content": QUESTION}]}


def overhead(folder: Path, rounds: int = 400) -> None:
    """Milliseconds a call, in Python and over HTTP."""
    here = menu(folder)
    with Running(folder) as url, httpx.Client(base_url=url, timeout=30) as client:
        for model in PIPELINES:
            times: dict[str, list[float]] = {"python": [], "http": []}
            with here.lease(model, None) as pipeline:
                for n in range(rounds + 20):
                    began = time.perf_counter()
                    pipeline.run(QUESTION)
                    middle = time.perf_counter()
                    client.post("/v1/chat/completions", json=body(model)).raise_for_status()
                    if n >= 20:
                        times["python"].append(1000 * (middle - began))
                        times["http"].append(1000 * (time.perf_counter() - middle))
            python, http = (statistics.median(times[name]) for name in ("python", "http"))
            p95 = sorted(times["http"])[int(0.95 * rounds)]
            told = f"python {python:.2f} ms, http {http:.2f} ms p50 ({p95:.2f} p95)"
            print(f"overhead {model}: {told}: {http - python:+.2f} ms")
    here.shelf.close()


def first(folder: Path, rounds: int = 200) -> None:
    """Milliseconds to the first token."""
    here = menu(folder)
    with Running(folder) as url, httpx.Client(base_url=url, timeout=30) as client:
        python, http = [], []
        with here.lease("look", None) as pipeline:
            for n in range(rounds + 10):
                began = time.perf_counter()
                for event in (stream := pipeline.stream(QUESTION)):
                    if event.kind == "token":
                        break
                middle = time.perf_counter()
                stream.close()
                begun = time.perf_counter()
                with client.stream("POST", "/v1/chat/completions", json=body("look", True)) as reply:
                    for line in reply.iter_lines():
                        if '"content": "word' in line:
                            break
                    got = time.perf_counter()
                if n >= 10:
                    python.append(1000 * (middle - began))
                    http.append(1000 * (got - begun))
        a, b = statistics.median(python), statistics.median(http)
        share = f"{(b - a) / (100 + a):+.1%} where a model takes 100 ms more"
        print(f"first token: python {a:.2f} ms, http {b:.2f} ms: {b - a:+.2f} ms, {share}")
    here.shelf.close()


def streams(folder: Path, count: int = 64) -> None:
    """Streams at once, each compared with what the model said."""

    async def one(client: httpx.AsyncClient) -> bool:
        said = ""
        async with client.stream("POST", "/v1/chat/completions", json=body("look", True)) as reply:
            async for line in reply.aiter_lines():
                if line.startswith("data: {"):
                    choices = json.loads(line[6:]).get("choices") or [{}]
                    said += choices[0].get("delta", {}).get("content") or ""
        return reply.status_code == 200 and said == SAID

    async def every(url: str) -> tuple[int, float]:
        limits = httpx.Limits(max_connections=count)
        async with httpx.AsyncClient(base_url=url, timeout=60, limits=limits) as client:
            await one(client)
            began = time.perf_counter()
            good = sum(await asyncio.gather(*(one(client) for _ in range(count))))
            return good, time.perf_counter() - began

    with Running(folder) as url:
        good, took = asyncio.run(every(url))
        print(f"streams: {good} of {count} at once whole, {took:.2f} s, {count * WORDS / took:.0f} tokens/s")


def rate(folder: Path, peers: str | None, rounds: int = 3, seconds: float = 5.0) -> None:
    """Requests a second of eight clients, beside hayhooks."""
    if peers is None:
        print("rate: give --peers to compare with hayhooks")

    def load(url: str, path: str, content: dict, expected: str) -> float:
        done, until = [0], time.perf_counter() + seconds

        def client() -> None:
            with httpx.Client(base_url=url, timeout=30) as one:
                while time.perf_counter() < until:
                    reply = one.post(path, json=content)
                    assert reply.status_code == 200, reply.text
                    assert expected in reply.text, reply.text
                    done[0] += 1

        threads = [threading.Thread(target=client) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return done[0] / seconds

    def ours() -> float:
        with Running(folder, ONE) as url:
            load_once(url, "free")
            return load(url, "/v1/chat/completions", body("free"), ONE)

    def load_once(url: str, model: str) -> None:
        httpx.post(f"{url}/v1/chat/completions", json=body(model), timeout=60).raise_for_status()

    def theirs() -> float:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [str(peers), str(HERE / "peers" / "hayhooks_server.py"), str(port), ONE]
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
            return load(url, "/chat/completions", body("fixed"), ONE)
        finally:
            process.terminate()
            process.wait(30)

    found: dict[str, list[float]] = {"llmkit": [], "hayhooks": []}
    sides = [("llmkit", ours)] + ([("hayhooks", theirs)] if peers else [])
    for n in range(rounds):
        for name, measure in sides if n % 2 == 0 else reversed(sides):
            found[name].append(measure())
    for name, rates in found.items():
        if rates:
            each = ", ".join(f"{one:.0f}" for one in rates)
            print(f"rate {name}: {statistics.median(rates):.0f} requests/s (median of {each})")


def main() -> None:
    if sys.argv[1:2] == ["serve"]:
        serve(Path(sys.argv[2]), sys.argv[3])
        return
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", default=["overhead", "first", "streams", "rate"])
    parser.add_argument("--peers")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        knowledge(folder)
        known = {"overhead": overhead, "first": first, "streams": streams}
        for one in given.names:
            if one == "rate":
                rate(folder, given.peers)
            else:
                known[one](folder)


if __name__ == "__main__":
    main()
