"""Responses of a job: server-sent events, or the result alone. A client that leaves stops the job."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from llmkit.errors import Cancelled
from llmkit.serve.json_encoding import encode_json, replace_surrogates
from llmkit.serve.runtime.job_runner import Job

Result = TypeVar("Result")
Piece = TypeVar("Piece")
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
_KEEP_ALIVE = 10.0  # seconds; a stream that is silent for one to two of these gets a comment
_MAX_SILENCE = 10.0  # seconds before a response begins without its first piece; proxies give up later than that


def format_event(value: object, event: str | None = None) -> bytes:
    """Return one server-sent event with a JSON value. JSON on one line cannot contain the end of an event."""
    head = f"event: {event}\n" if event else ""
    return head.encode() + b"data: " + encode_json(value) + b"\n\n"


def format_comment(text: str) -> bytes:
    """Return a comment, which clients skip and people who watch the stream can read."""
    return f": {replace_surrogates(' '.join(text.split()))}\n\n".encode()


async def wait_for_disconnect(receive: Receive) -> None:
    """Return when the client has disconnected."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def wait_for_result(job: Job[Result], request: Request) -> Result:
    """Wait for the result of a job; stop the job where the client leaves before.

    Raises:
        Cancelled: the client has disconnected.
        Exception: whatever the work raised.
    """
    watcher = _stop_on_disconnect(job, request.receive)
    try:
        async for _ in job:
            pass
        return await job.result()
    except asyncio.CancelledError:
        job.stop()
        raise
    finally:
        watcher.cancel()


async def wait_for_first(
    pieces: AsyncIterator[Piece], job: Job[Any], request: Request, is_content: Callable[[Piece], bool]
) -> AsyncIterator[Piece]:
    """Wait for the first piece of content in a stream, and return the whole stream.

    An error before the first piece can so be answered with an HTTP status, and not within the stream. After ten seconds
    without content the stream is returned as it is, so that the client sees a sign of life. A client that leaves
    meanwhile stops the job.

    Args:
        pieces: the stream.
        job: the job behind it.
        request: the request of the client.
        is_content: whether the response may begin with a piece; earlier pieces are kept and come first.

    Raises:
        Cancelled: the client has disconnected.
        Exception: whatever the work raised.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _MAX_SILENCE
    watcher = _stop_on_disconnect(job, request.receive)
    early: list[Piece] = []
    following: asyncio.Future[Piece] = asyncio.ensure_future(anext(pieces))
    try:
        while True:
            done, _ = await asyncio.wait({following}, timeout=max(0.0, deadline - loop.time()))
            if not done or is_content(following.result()):
                break
            early.append(following.result())
            following = asyncio.ensure_future(anext(pieces))
    except StopAsyncIteration:
        raise Cancelled("the client has disconnected") from None
    except BaseException:
        job.stop()
        raise
    finally:
        watcher.cancel()

    async def stream() -> AsyncIterator[Piece]:
        for piece in early:
            yield piece
        try:
            yield await following
        except StopAsyncIteration:
            return
        async for piece in pieces:
            yield piece

    return stream()


class EventStream(Response):
    """Sends pieces as they come, and comments to keep the connection alive. A client that leaves stops the job."""

    media_type = "text/event-stream"

    def __init__(self, pieces: AsyncIterator[bytes], job: Job[Any]) -> None:
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"}, media_type=self.media_type)
        del self.headers["content-length"]
        self._pieces, self._job = pieces, job

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Send all pieces."""
        watcher = _stop_on_disconnect(self._job, receive)
        sent = 0

        async def send_piece(content: bytes) -> None:
            nonlocal sent
            sent += 1
            await send({"type": "http.response.body", "body": content, "more_body": True})

        async def keep_alive() -> None:
            while True:
                before = sent
                await asyncio.sleep(_KEEP_ALIVE)
                if sent == before:
                    await send_piece(b": still working\n\n")

        heartbeat = asyncio.create_task(keep_alive())
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            async for piece in self._pieces:
                await send_piece(piece)
            heartbeat.cancel()
            await send({"type": "http.response.body", "body": b""})
        finally:
            heartbeat.cancel()
            watcher.cancel()
            self._job.stop()


def _stop_on_disconnect(job: Job[Any], receive: Receive) -> asyncio.Task[None]:
    """Return a task that stops the job when the client disconnects."""
    watcher = asyncio.create_task(wait_for_disconnect(receive))
    watcher.add_done_callback(lambda task: None if task.cancelled() else job.stop())
    return watcher
