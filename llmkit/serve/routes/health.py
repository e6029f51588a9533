"""Health checks, metrics, and what the page needs to know at its start."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from llmkit.errors import LlmkitError
from llmkit.serve.routes.dependencies import caller_of, service_of
from llmkit.serve.routes.json_response import Utf8JsonResponse
from llmkit.version import __version__

router = APIRouter(tags=["server"])


@router.get("/healthz")
@router.head("/healthz", include_in_schema=False)
async def health() -> dict[str, str]:
    """Report that the process is alive."""
    return {"status": "ok", "version": __version__}


@router.get("/readyz", response_model=None)
@router.head("/readyz", response_model=None, include_in_schema=False)
def ready(request: Request) -> Response:
    """Report whether the server can answer: it is not being stopped, and its knowledge base, if any, can be opened."""
    service = service_of(request)
    report: dict[str, Any] = {"status": "ready", "documents": service.knowledge.exists}
    try:
        if service.stopping:
            report["status"] = "stopping"
        elif service.knowledge.exists:
            with service.knowledge.view():
                pass
    except (LlmkitError, OSError):
        report["status"] = "the knowledge base cannot be opened"
    return Utf8JsonResponse(report, 200 if report["status"] == "ready" else 503)


@router.get("/metrics", response_class=Response)
def metrics(request: Request) -> Response:
    """Return metrics for Prometheus."""
    values = service_of(request).metrics
    return Response(values.render(), media_type=values.content_type)


@router.get("/api/me")
def me(request: Request) -> dict[str, Any]:
    """Return who the caller is, what the caller may do, the limits, and the pipelines."""
    service, caller = service_of(request), caller_of(request)
    return {
        "name": caller.name,
        "scopes": sorted(caller.scopes),
        "labels": list(caller.labels),
        "keys": not service.settings.is_open,
        "documents": service.knowledge.exists,
        "max_upload": min(service.settings.max_upload, caller.max_upload or service.settings.max_upload),
        "max_question": service.settings.max_question,
        "pipelines": [
            {"name": name, "description": pipeline.description, "looks_up": pipeline.reads_knowledge}
            for name, pipeline in service.registry.pipelines.items()
        ],
    }
