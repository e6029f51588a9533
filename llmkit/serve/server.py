"""The process that listens: uvicorn, with a limit on how long and how large the head of a request may be."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from typing import Any

from llmkit.errors import LlmkitError
from llmkit.extras import need
from llmkit.serve.app import make_app
from llmkit.serve.runtime.knowledge_pool import Shelf
from llmkit.serve.runtime.log import to_stderr
from llmkit.serve.runtime.pipeline_registry import Menu
from llmkit.serve.settings import Settings

_HEAD_BYTES = 64 * 1024
_CONNECTIONS = 2000


def serve(settings: Settings, on_start: Callable[[str], None] = lambda _: None) -> None:
    """Listen until SIGTERM or Ctrl-C; then let running answers end.

    Args:
        settings: of the server.
        on_start: told the address once it listens.

    Raises:
        MissingExtra: the extra ``serve`` is not installed.
        LlmkitError: a pipeline cannot be read, or the address cannot be had.
    """
    to_stderr()
    Menu.read(settings.pipelines, settings.overrides, Shelf(settings.knowledge))  # its problems, before anything starts
    server = make_server(settings, on_start=on_start)
    try:
        server.run()
    except SystemExit:
        raise LlmkitError(
            f"{settings.host}:{settings.port} cannot be listened on: is it taken? Give another --port"
        ) from None
    if not server.started:
        raise LlmkitError("the server did not start: the lines above say why")


def make_server(
    settings: Settings, menu: Callable[[], Menu] | None = None, on_start: Callable[[str], None] = lambda _: None
) -> Any:
    """A ``uvicorn.Server`` that is ready to run.

    Raises:
        MissingExtra: the extra ``serve`` is not installed.
    """
    uvicorn = need("uvicorn", feature="the server", extra="serve")
    app = make_app(settings, menu)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=_protocol(settings.read_seconds),
        ws="none",
        lifespan="on",
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        limit_concurrency=_CONNECTIONS,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=max(1, round(settings.grace) + 5),
    )

    class Server(uvicorn.Server):  # type: ignore[misc, name-defined]
        """Tells the address, and the application when it has to end."""

        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            if self.started:
                host, port = self.servers[0].sockets[0].getsockname()[:2]
                on_start(f"http://{f'[{host}]' if ':' in host else host}:{port}/")

        def handle_exit(self, sig: int, frame: Any) -> None:
            app.service.stop_soon()
            super().handle_exit(sig, frame)

        def run(self, sockets: Any = None) -> None:
            super().run(sockets)
            alone = threading.current_thread() is threading.main_thread()
            if alone and self.started and app.service.kitchen.stuck:
                os._exit(0)  # everything is closed; Python would wait for a model that does not hear us

    return Server(config)


def _protocol(seconds: float) -> type[asyncio.Protocol]:
    """HTTP/1.1 that closes a connection whose head does not come whole in time, or is too large."""
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

    class Bounded(HttpToolsProtocol):
        """Counts and times the head of each request."""

        _head = 0
        _in_head = True
        _timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._timer = self.loop.call_later(seconds, self.transport.close)

        def connection_lost(self, exc: Exception | None) -> None:
            self._in_time()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            if self._in_head:
                if self._timer is None:
                    self._timer = self.loop.call_later(seconds, self.transport.close)
                self._head += len(data)
            super().data_received(data)
            if self._in_head and self._head > _HEAD_BYTES:
                self.transport.close()

        def on_headers_complete(self) -> None:
            self._in_head = False
            self._in_time()
            super().on_headers_complete()

        def on_message_complete(self) -> None:
            super().on_message_complete()
            self._in_head, self._head = True, 0

        def _in_time(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    return Bounded
