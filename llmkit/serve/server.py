"""The process that listens: uvicorn, with limits on the size and duration of a request's head."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from typing import Any

from llmkit.errors import LlmkitError
from llmkit.extras import need
from llmkit.serve.app import create_app
from llmkit.serve.runtime.knowledge_pool import KnowledgePool
from llmkit.serve.runtime.log import log_to_stderr
from llmkit.serve.runtime.pipeline_registry import PipelineRegistry
from llmkit.serve.settings import Settings

_MAX_HEAD_BYTES = 64 * 1024
_MAX_CONNECTIONS = 2000


def serve(settings: Settings, on_start: Callable[[str], None] = lambda _: None) -> None:
    """Serve until SIGTERM or Ctrl-C, and let running answers finish within ``settings.grace`` seconds.

    Args:
        settings: settings of the server.
        on_start: called with the server's URL once it listens.

    Raises:
        MissingExtra: the extra ``serve`` is not installed.
        LlmkitError: a pipeline cannot be loaded, or the address cannot be listened on.
    """
    log_to_stderr()
    # Loading the pipelines once beforehand reports every problem of a file before the server starts.
    PipelineRegistry.load(settings.pipelines, settings.overrides, KnowledgePool(settings.knowledge))
    server = create_server(settings, on_start=on_start)
    try:
        server.run()
    except SystemExit:
        raise LlmkitError(
            f"cannot listen on {settings.host}:{settings.port}; if another program uses the port, choose another --port"
        ) from None
    if not server.started:
        raise LlmkitError("the server did not start; the lines above give the reason")


def create_server(
    settings: Settings,
    load_registry: Callable[[], PipelineRegistry] | None = None,
    on_start: Callable[[str], None] = lambda _: None,
) -> Any:
    """Return a ``uvicorn.Server`` that is ready to run.

    Args:
        settings: settings of the server.
        load_registry: returns the pipelines to serve; None loads those that the settings name.
        on_start: called with the server's URL once it listens.

    Raises:
        MissingExtra: the extra ``serve`` is not installed.
    """
    uvicorn = need("uvicorn", feature="the server", extra="serve")
    app = create_app(settings, load_registry)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=_bounded_protocol(settings.read_seconds),
        ws="none",
        lifespan="on",
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        limit_concurrency=_MAX_CONNECTIONS,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=max(1, round(settings.grace) + 5),
    )

    class Server(uvicorn.Server):  # type: ignore[misc, name-defined]
        """Reports the URL once it listens, and tells the application when the process is asked to end."""

        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            if self.started:
                host, port = self.servers[0].sockets[0].getsockname()[:2]
                on_start(f"http://{f'[{host}]' if ':' in host else host}:{port}/")

        def handle_exit(self, sig: int, frame: Any) -> None:
            app.service.begin_shutdown()
            super().handle_exit(sig, frame)

        def run(self, sockets: Any = None) -> None:
            super().run(sockets)
            owns_process = threading.current_thread() is threading.main_thread()
            if owns_process and self.started and app.service.runner.has_unfinished_jobs:
                os._exit(0)  # all files are closed; Python would wait for a model call that does not return

    return Server(config)


def _bounded_protocol(seconds: float) -> type[asyncio.Protocol]:
    """Return an HTTP/1.1 protocol that closes a connection whose head is too large, or not complete in time."""
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

    class BoundedProtocol(HttpToolsProtocol):
        """Counts the bytes and the seconds of each request's head."""

        _head_bytes = 0
        _in_head = True
        _timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._timer = self.loop.call_later(seconds, self.transport.close)

        def connection_lost(self, exc: Exception | None) -> None:
            self._cancel_timer()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            if self._in_head:
                if self._timer is None:
                    self._timer = self.loop.call_later(seconds, self.transport.close)
                self._head_bytes += len(data)
            super().data_received(data)
            if self._in_head and self._head_bytes > _MAX_HEAD_BYTES:
                self.transport.close()

        def on_headers_complete(self) -> None:
            self._in_head = False
            self._cancel_timer()
            super().on_headers_complete()

        def on_message_complete(self) -> None:
            super().on_message_complete()
            self._in_head, self._head_bytes = True, 0

        def _cancel_timer(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    return BoundedProtocol
