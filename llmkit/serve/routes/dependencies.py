"""What a route needs from its request: the service, the caller, the caller's store, the request id."""

from __future__ import annotations

from typing import cast

from starlette.requests import Request

from llmkit.serve.auth.principal import Principal
from llmkit.serve.runtime.service import Service
from llmkit.serve.storage.caller_stores import CallerStore


def service_of(request: Request) -> Service:
    """Return the service behind the application."""
    return cast(Service, request.app.state.service)


def caller_of(request: Request) -> Principal:
    """Return the caller that the middleware has authenticated."""
    return cast(Principal, request.state.caller)


def request_id_of(request: Request) -> str:
    """Return the id of the request, which the log and error messages name."""
    return str(request.state.request_id)


def store_of(request: Request) -> CallerStore:
    """Return the caller's conversations, traces, feedback and waiting turns."""
    return service_of(request).stores.for_caller(caller_of(request))
