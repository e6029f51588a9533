"""What a route finds in its request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, cast

from starlette.requests import Request

from llmkit.errors import Cancelled
from llmkit.serve.auth.principal import Caller
from llmkit.serve.routes.sse import left
from llmkit.serve.runtime.jobs import Order

if TYPE_CHECKING:
    from llmkit.serve.runtime.service import Service
    from llmkit.serve.storage.caller_stores import Drawer

_PATIENCE = 10.0  # seconds; proxies give up on silence later than that


def service_of(request: Request) -> Service:
    """The service behind the application."""
    return cast("Service", request.app.state.service)


def caller_of(request: Request) -> Caller:
    """Who asks."""
    return cast(Caller, request.state.caller)


def request_of(request: Request) -> str:
    """The request's id."""
    return str(request.state.request_id)


def drawer_of(request: Request) -> Drawer:
    """What is kept of the caller."""
    return service_of(request).drawers.of(caller_of(request))


async def started(pieces: AsyncIterator[Any], order: Order[Any], request: Request) -> AsyncIterator[Any]:
    """The pieces, once the first is there: what fails before it is answered with a status, not within the stream.

    After some seconds without one they are given as they will come, so that the client hears something. One that
    leaves meanwhile stops the order.

    Raises:
        Cancelled: the client has gone.
        Exception: what went wrong in the run.
    """
    watcher = asyncio.create_task(left(request.receive))
    watcher.add_done_callback(lambda task: None if task.cancelled() else order.stop())
    head = asyncio.ensure_future(anext(pieces))
    try:
        done, _ = await asyncio.wait({head}, timeout=_PATIENCE)
        if done:
            head.result()
    except StopAsyncIteration:
        raise Cancelled("the client has gone") from None
    except BaseException:
        order.stop()
        raise
    finally:
        watcher.cancel()

    async def again() -> AsyncIterator[Any]:
        try:
            yield await head
        except StopAsyncIteration:
            return
        async for piece in pieces:
            yield piece

    return again()
