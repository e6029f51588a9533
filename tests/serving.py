"""Runs a server in a thread of the test, over a small knowledge base and a scripted model."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager

import httpx
import pytest

pytest.importorskip("fastapi", reason="needs the extra serve")
pytest.importorskip("uvicorn", reason="needs the extra serve")

from llmkit.encoders.hashing import HashingEncoder
from llmkit.knowledge.knowledge_base import KnowledgeBase
from llmkit.models.scripted import ScriptedChat
from llmkit.pipeline.pipeline import Pipeline
from llmkit.serve.runtime.knowledge_pool import KnowledgePool
from llmkit.serve.runtime.pipeline_registry import PipelineRegistry
from llmkit.serve.server import create_server
from llmkit.serve.settings import Settings
from llmkit.types import Document

TEXTS = {
    "pump": "The pump is serviced in May. In June the filter of the pump is changed.",
    "mill": "The mill is serviced in August. In September its stones are dressed.",
}
SAID = "The mill is serviced in August [1]. "
QUESTION = "When is the mill serviced?"
_QUOTE = {"type": "extract", "threshold": 0}
PIPELINES = {
    "quote": {"steps": ["condense", "retrieve", _QUOTE]},
    "write": {"steps": ["condense", "retrieve", "answer"], "model": "scripted:x"},
    "checked": {"steps": ["retrieve", "answer", {"type": "ground", "on_unsupported": "drop"}], "model": "scripted:x"},
    "free": {"steps": ["generate"], "model": "scripted:x"},
    "find": {"steps": ["retrieve"]},
}


def knowledge(path, texts=TEXTS, source="api"):
    with KnowledgeBase.create(path, encoder=HashingEncoder()) as kb:
        kb.add([Document(name, text) for name, text in texts.items()], source=source)
    return path


class Served:
    """A running server, with its `url`, an `http` client, the scripted `model`, and the `service` behind it."""

    def __init__(self, url, model, server):
        self.url, self.model, self.server = url, model, server
        self.http = httpx.Client(base_url=url, timeout=30)

    @property
    def service(self):
        return self.server.config.app.service

    def files(self, **headers):
        return self.http.get("/api/knowledge/files", headers=headers).json()["files"]

    def upload(self, name, content, headers=None, **data):
        files = {"files": (name, content)}
        return self.http.post("/api/knowledge/files", files=files, data=data, headers=headers)

    def until(self, check, seconds=20):
        """Wait until `check` returns something true, and return that."""
        end = time.monotonic() + seconds
        while not (found := check()):
            assert time.monotonic() < end, "it did not come true"
            time.sleep(0.02)
        return found


@contextmanager
def running(folder, script=SAID, pipelines=PIPELINES, load=None, **settings):
    """Run a server whose pipelines use a scripted model, or the models that `load` loads."""
    model = ScriptedChat((lambda _: script) if isinstance(script, str) else script)
    values = {"port": 0, "knowledge": folder / "kb", "data": folder / "serve", "sessions": folder / "s.sqlite",
              "encoder": "hashing", "grace": 2.0}  # fmt: skip
    made = Settings(**{**values, **settings})

    def registry():
        loaded = [Pipeline.model_validate({"name": name, **one}) for name, one in pipelines.items()]
        return PipelineRegistry(loaded, KnowledgePool(made.knowledge), load or (lambda _: model))

    told = []
    server = create_server(made, registry, told.append)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    end = time.monotonic() + 20
    while not told:
        assert thread.is_alive(), "the server ended"
        assert time.monotonic() < end, "the server did not start"
        time.sleep(0.01)
    served = Served(told[0].rstrip("/"), model, server)
    try:
        yield served
    finally:
        served.http.close()
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive(), "the server does not end"


def events(response):
    """Yield (event, data) of server-sent events as they come."""
    import json

    kind = None
    for line in response.iter_lines():
        if line.startswith("event: "):
            kind = line[7:]
        elif line.startswith("data: ") and line != "data: [DONE]":
            yield kind, json.loads(line[6:])
