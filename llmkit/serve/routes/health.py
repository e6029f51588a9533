"""Whether the server lives, whether it can answer, and its numbers."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from llmkit.errors import LlmkitError
from llmkit.serve.routes.dependencies import caller_of, service_of
from llmkit.version import __version__

router = APIRouter(tags=["server"])


@router.get("/healthz")
async def health() -> dict[str, str]:
    """The process lives."""
    return {"status": "ok", "version": __version__}


@router.get("/readyz", response_model=None)
def ready(request: Request) -> Response:
    """The server can answer: it is not being stopped, and the knowledge base opens where there is one."""
    service = service_of(request)
    told: dict[str, Any] = {"status": "ready", "documents": service.shelf.there}
    try:
        if service.stopping:
            told["status"] = "stopping"
        elif service.shelf.there:
            with service.shelf.lease():
                pass
    except (LlmkitError, OSError):
        told["status"] = "the knowledge base does not open"
    return JSONResponse(told, 200 if told["status"] == "ready" else 503)


@router.get("/metrics", response_class=Response)
def metrics(request: Request) -> Response:
    """Numbers for Prometheus."""
    told = service_of(request).metrics
    return Response(told.text(), media_type=told.kind)


@router.get("/api/me")
def me(request: Request) -> dict[str, Any]:
    """Who asks, what that caller may do, and what there is to ask."""
    service, caller = service_of(request), caller_of(request)
    return {
        "name": caller.name,
        "scopes": sorted(caller.scopes),
        "labels": list(caller.labels),
        "keys": not service.settings.open,
        "documents": service.shelf.there,
        "max_upload": min(service.settings.max_upload, caller.max_upload or service.settings.max_upload),
        "max_question": service.settings.max_question,
        "pipelines": [
            {"name": name, "description": one.description, "looks_up": one.reads_knowledge}
            for name, one in service.menu.pipelines.items()
        ],
    }
