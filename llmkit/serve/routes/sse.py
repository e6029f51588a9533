"""Server-sent events that stop the run behind them when the client leaves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from llmkit.serve.runtime.jobs import Order

Done = TypeVar("Done")
_ALIVE = 10.0  # seconds; after one to two of these without a word a comment shows that somebody is there


def line(value: object, event: str | None = None) -> bytes:
    """One event. JSON has no line breaks of its own, so nothing in it can end the event."""
    head = f"event: {event}\n" if event else ""
    return f"{head}data: {json.dumps(value, ensure_ascii=False)}\n\n".encode()


async def left(receive: Callable[[], Awaitable[MutableMapping[str, Any]]]) -> None:
    """Return when the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def outcome(order: Order[Done], request: Request) -> Done:
    """What comes of a run; it is stopped where the client leaves before.

    Raises:
        Cancelled: the client has gone.
        Exception: what went wrong in the run.
    """
    watcher = asyncio.create_task(left(request.receive))
    watcher.add_done_callback(lambda task: None if task.cancelled() else order.stop())
    try:
        async for _ in order:
            pass
        return await order.result()
    except asyncio.CancelledError:
        order.stop()
        raise
    finally:
        watcher.cancel()


class EventStream(Response):
    """Sends pieces as they come, with comments in between where nothing does; a client that leaves stops the order."""

    media_type = "text/event-stream"

    def __init__(self, pieces: AsyncIterator[bytes], order: Order[Any]) -> None:
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"}, media_type=self.media_type)
        del self.headers["content-length"]
        self._pieces, self._order = pieces, order

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Send everything."""
        watcher = asyncio.create_task(left(receive))
        watcher.add_done_callback(lambda task: None if task.cancelled() else self._order.stop())
        sent = [0]

        async def tell(content: bytes) -> None:
            sent[0] += 1
            await send({"type": "http.response.body", "body": content, "more_body": True})

        async def show_life() -> None:
            while True:
                before = sent[0]
                await asyncio.sleep(_ALIVE)
                if sent[0] == before:
                    await tell(b": still at it\n\n")

        life = asyncio.create_task(show_life())
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            async for piece in self._pieces:
                await tell(piece)
            life.cancel()
            await send({"type": "http.response.body", "body": b""})
        finally:
            life.cancel()
            watcher.cancel()
            self._order.stop()
