"""What every test may rely on: no network, no home folder of the user's, few threads."""

from __future__ import annotations

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "2")  # before NumPy and the runtimes read them
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import ipaddress
import json
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from llmkit import weights

REPOSITORY = Path(__file__).resolve().parent.parent
REAL_HOME = weights.home()

settings.register_profile("quick", max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", parent=settings.get_profile("quick"), max_examples=200)
settings.load_profile("ci" if os.environ.get("CI") else "quick")


@pytest.fixture(autouse=True)
def _no_network(request, monkeypatch):
    """Sockets to anywhere are refused; tests marked `network` may use this machine's own."""
    own = request.node.get_closest_marker("network") is not None
    connect, resolve = socket.socket.connect, socket.getaddrinfo

    def local(address) -> bool:
        if not isinstance(address, tuple):
            return True  # a socket file
        host = str(address[0]).partition("%")[0]
        try:
            return own and ipaddress.ip_address(host).is_loopback
        except ValueError:
            return own and host == "localhost"

    def guarded_connect(self, address):
        if not local(address):
            raise OSError(f"tests open no connections: {address}")
        return connect(self, address)

    def guarded_resolve(host, *rest, **named):
        if not local((host or "localhost",)):
            raise OSError(f"tests ask no name servers: {host}")
        return resolve(host, *rest, **named)

    monkeypatch.setattr(socket.socket, "connect", guarded_connect)
    monkeypatch.setattr(socket, "getaddrinfo", guarded_resolve)


@pytest.fixture(autouse=True)
def _own_environment(request, tmp_path, monkeypatch):
    """No settings of the user's; a home of the test's own, with a view of the real models where it needs the weights."""
    for name in [key for key in os.environ if key.startswith(("OPENAI_", "LLMKIT_")) and key != "LLMKIT_DATA"]:
        monkeypatch.delenv(name)
    home = tmp_path / "llmkit-home"
    if "weights_home" in request.fixturenames:
        home.mkdir()
        (home / "models").symlink_to(request.getfixturevalue("weights_home") / "models", target_is_directory=True)
        graphs = request.getfixturevalue("graphs")
        (home / "graphs").symlink_to(graphs, target_is_directory=True)
        (home / "self_checks").symlink_to(graphs, target_is_directory=True)
    monkeypatch.setenv("LLMKIT_HOME", str(home))


@pytest.fixture(scope="session")
def graphs(tmp_path_factory) -> Path:
    """Where encoder graphs are kept, one folder a session: none of a test's is left in the user's home."""
    return tmp_path_factory.mktemp("graphs")


@pytest.fixture(scope="session")
def weights_home() -> Path:
    """The folder with the default models, or a skip that says how to get them."""
    missing = [
        name for name, model in weights.catalogue().items()
        if not (REAL_HOME / "models" / name / (model.entry or "model.safetensors")).is_file()
    ]  # fmt: skip
    if missing:
        if os.environ.get("CI"):
            pytest.fail("the models must be there in CI: llmkit models pull")
        pytest.skip(f"needs model weights: llmkit models pull {' '.join(missing)}")
    return REAL_HOME


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of public data sets, or a skip that says where it was looked for."""
    folder = Path(os.environ.get("LLMKIT_DATA") or REPOSITORY.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"needs the data sets: no folder {folder} (set LLMKIT_DATA)")
    return folder


@dataclass
class Reply:
    """What the loopback server sends back; None instead of one closes the connection without a word."""

    body: bytes
    kind: str = "application/json"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


class Loopback:
    """An HTTP server on this machine: `answer` makes a reply of each JSON body; `bodies` keeps what was asked."""

    def __init__(self) -> None:
        self.answer: Callable[[Any], Reply | None] = lambda body: Reply(json.dumps(body).encode())
        self.bodies: list[Any] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.bodies.append(body)
                reply = outer.answer(body)
                if reply is None:
                    self.close_connection = True
                    return
                self.send_response(reply.status)
                headers = {"Content-Type": reply.kind, "Content-Length": str(len(reply.body)), **reply.headers}
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(reply.body)

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        """Where it listens, as OPENAI_BASE_URL wants it."""
        return f"http://127.0.0.1:{self.http.server_port}/v1"

    def fail(self, status: int, **headers: str) -> Reply:
        """An error in the form OpenAI gives it."""
        return Reply(json.dumps({"error": {"message": f"planned {status}"}}).encode(), status=status, headers=headers)


@pytest.fixture
def loopback(monkeypatch):
    """A server that speaks what the test teaches it, named by OPENAI_BASE_URL; only for tests marked `network`."""
    server = Loopback()
    threading.Thread(target=server.http.serve_forever, daemon=True).start()
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    yield server
    server.http.shutdown()
    server.http.server_close()
