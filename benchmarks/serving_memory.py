"""Memory of the server over thousands of mixed requests by eight clients: resident size and its slope.

Twenty requests in a row are: whole answers and streams, streams that the client leaves, turns of conversations that
are deleted later, traces, ratings, searches, embeddings, and requests with errors. The first fifth of all requests
warms the server up and does not count for the slope.
"""

from __future__ import annotations

import json
import os
import re
import threading
import time
from pathlib import Path

from serving import PAUSE, Client, ServerProcess, body

CLIENTS, SAMPLE_INTERVAL = 8, 250


def memory(folder: Path, requests: int) -> None:
    """Print the resident memory every 1,000 requests, then the slope in MB per 1,000 requests with a 95 % interval."""
    server = ServerProcess(folder)
    sizes: list[tuple[int, float]] = []
    statuses: dict[str, int] = {}
    numbers, lock = iter(range(requests)), threading.Lock()
    with server as url:

        def work() -> None:
            while True:
                with lock:
                    n = next(numbers, None)
                    if n is None:
                        return
                    if n % SAMPLE_INTERVAL == 0:
                        sizes.append((n, resident(server.process.pid)))
                        if n % 1000 == 0:
                            print(f"memory: {n} requests, {sizes[-1][1]:.1f} MB", flush=True)
                kind, status = send_request(url, n)
                with lock:
                    name = f"{kind} {status}"
                    statuses[name] = statuses.get(name, 0) + 1

        threads = [threading.Thread(target=work) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        time.sleep(PAUSE)
        sizes.append((requests, resident(server.process.pid)))
        threads_left = len(os.listdir(f"/proc/{server.process.pid}/task"))
        files_left = len(os.listdir(f"/proc/{server.process.pid}/fd"))
    print(f"memory: {requests} requests, {sizes[-1][1]:.1f} MB")
    print(f"memory: {', '.join(f'{name}: {count}' for name, count in sorted(statuses.items()))}")
    print(f"memory: {threads_left} threads, {files_left} open files at the end")
    assert sum(statuses.values()) == requests
    slope, low, high = slope_of([size for size in sizes if size[0] >= requests / 5])
    print(f"memory: {slope:+.3f} MB per 1,000 requests [{low:+.3f}, {high:+.3f}]")


def send_request(url: str, n: int) -> tuple[str, int]:
    """Send request number `n` of the mixture; return its kind and its status."""
    kind = n % 20
    with Client(url) as post:
        if kind < 6:
            reply = post("/v1/chat/completions", body("look", question=f"When is mill {n % 997} serviced?"))
            answer = json.loads(reply.read())
            if kind < 2:
                path = f"/api/traces/{answer['llmkit']['trace']}"
                reply = post.get(path)
                assert json.loads(reply.read())["asked"].startswith("When is mill")
                return "trace", reply.status
            if kind == 2:
                reply = post(
                    "/api/feedback", {"trace": answer["llmkit"]["trace"], "rating": "up" if n % 40 < 20 else "none"}
                )
                reply.read()
                reply = post("/api/feedback", {"trace": answer["llmkit"]["trace"], "rating": "none"})
                return "feedback", read(reply)
            return "answer", reply.status
        if kind < 9:
            return "stream", read(post("/v1/chat/completions", body("look", stream=True)))
        if kind < 12:
            reply = post("/v1/chat/completions", body("look", stream=True))
            reply.readline()  # and leave
            return "left stream", reply.status
        if kind < 14:
            return "response", read(
                post("/v1/responses", {"model": "free", "input": f"mill {n}", "stream": kind == 13})
            )
        if kind < 16:
            name = f"talk {n // 100}"
            if n % 100 == 95:
                return "deleted session", read(post.get(f"/api/sessions/talk%20{n // 100 - 1}", method="DELETE"))
            return "turn", read(
                post(f"/api/sessions/{name.replace(' ', '%20')}/turns", {"question": f"mill {n}", "pipeline": "look"})
            )
        if kind == 16:
            return "search", read(post("/api/knowledge/search", {"query": f"mill {n % 997}", "k": 5}))
        if kind == 17:
            return "embedding", read(post("/v1/embeddings", {"model": "encoder", "input": [f"mill {n}"] * 8}))
        if kind == 18:
            return "wrong", read(post("/v1/chat/completions", {"model": f"no-{n}", "messages": []}))
        paths = ("/v1/models", "/api/sessions", "/metrics", "/", "/nowhere", "/api/traces/tr-0", "/readyz")
        return "get", read(post.get(paths[n // 20 % len(paths)]))


def read(reply) -> int:
    """Read a reply to its end and return its status."""
    reply.read()
    return reply.status


def resident(process: int) -> float:
    """Return the resident memory of a process in megabytes."""
    kilobytes = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{process}/status").read_text())
    return int(kilobytes.group(1)) / 1000


def slope_of(sizes: list[tuple[int, float]]) -> tuple[float, float, float]:
    """Return the slope in megabytes per 1,000 requests, by least squares, with its 95 % interval."""
    from scipy import stats

    fit = stats.linregress([n / 1000 for n, _ in sizes], [megabytes for _, megabytes in sizes])
    reach = stats.t.ppf(0.975, len(sizes) - 2) * fit.stderr
    return fit.slope, fit.slope - reach, fit.slope + reach
