"""The ASGI application: routes, error handlers and the web page, behind the access middleware."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any

from llmkit.errors import LlmkitError
from llmkit.extras import need
from llmkit.serve.auth.middleware import AccessMiddleware
from llmkit.serve.errors import HttpError, error_body, error_headers, to_http_error
from llmkit.serve.runtime.pipeline_registry import PipelineRegistry
from llmkit.serve.runtime.service import Service
from llmkit.serve.settings import Settings
from llmkit.version import __version__

_SCRIPTS = "theme app api dom chat answer decide files reader why history panel".split()
PAGE_FILES = {
    "index.html": "text/html; charset=utf-8",
    "style.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
    **{f"{name}.js": "text/javascript; charset=utf-8" for name in _SCRIPTS},
}
_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)


def create_app(settings: Settings, load_registry: Callable[[], PipelineRegistry] | None = None) -> AccessMiddleware:
    """Return the ASGI application of a server.

    Args:
        settings: settings of the server.
        load_registry: returns the pipelines to serve; None loads those that the settings name.

    Raises:
        MissingExtra: the extra ``serve`` is not installed.
    """
    fastapi = need("fastapi", feature="the server", extra="serve")
    need("python_multipart", feature="the server", extra="serve")
    from llmkit.serve.routes.json_response import Utf8JsonResponse

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        app.state.service = service = Service(settings, load_registry() if load_registry is not None else None)
        try:
            yield
        finally:
            await service.close()

    app = fastapi.FastAPI(
        title="llmkit",
        version=__version__,
        description="Answers from your documents, with citations. `/v1` is OpenAI's interface.",
        lifespan=lifespan,
        default_response_class=Utf8JsonResponse,
        docs_url=None,  # FastAPI's documentation pages load scripts from other servers
        redoc_url=None,
        openapi_url="/openapi.json",
    )
    _add_routes(app)
    _add_error_handlers(app)
    _add_page(app)
    return AccessMiddleware(app, lambda: app.state.service)


def _add_routes(app: Any) -> None:
    from llmkit.serve.routes import chat_completions, embeddings, feedback, health, knowledge, responses, sessions

    for module in (chat_completions, responses, embeddings, knowledge, sessions, feedback, health):
        app.include_router(module.router)


def _add_error_handlers(app: Any) -> None:
    from fastapi.exceptions import RequestValidationError
    from starlette.exceptions import HTTPException
    from starlette.requests import Request

    from llmkit.serve.routes.json_response import Utf8JsonResponse

    def respond(request: Request, error: HttpError) -> Utf8JsonResponse:
        state = request.state
        return Utf8JsonResponse(error_body(error, state.request_id, state.caller), error.status, error_headers(error))

    async def any_error(request: Request, error: Exception) -> Utf8JsonResponse:
        return respond(request, to_http_error(error))

    async def http_error(request: Request, error: HTTPException) -> Utf8JsonResponse:
        message = str(error.detail)
        if error.status_code in (404, 405):  # from the router; llmkit's own 404 are HttpError and name what is missing
            message += ": /openapi.json lists the paths and methods of this server"
        response = respond(request, HttpError(error.status_code, message))
        response.headers.update(error.headers or {})
        return response

    async def invalid_request(request: Request, error: RequestValidationError) -> Utf8JsonResponse:
        problems = "; ".join(map(_describe_problem, error.errors()[:10]))
        return respond(request, HttpError(422, problems, code="invalid"))

    app.add_exception_handler(LlmkitError, any_error)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(RequestValidationError, invalid_request)
    app.add_exception_handler(Exception, any_error)


def _describe_problem(problem: Any) -> str:
    """Return one problem that pydantic found in a request, in words."""
    if problem["type"] == "json_invalid":
        return f"the body is not JSON: {problem['ctx']['error']}, at character {problem['loc'][-1]}"
    if problem["loc"] == ("body",) and isinstance(problem["input"], bytes):
        return "the body was not read as JSON: send the header Content-Type: application/json"
    return f"{'.'.join(map(str, problem['loc'][1:])) or problem['loc'][0]}: {problem['msg']}"


def _add_page(app: Any) -> None:
    from starlette.responses import Response

    folder = files("llmkit.serve") / "page"
    contents = {name: (folder / name).read_bytes() for name in PAGE_FILES}

    def page_file(name: str) -> Response:
        return Response(contents[name], media_type=PAGE_FILES[name], headers={"content-security-policy": _PAGE_POLICY})

    async def page() -> Response:
        return page_file("index.html")

    async def part(name: str) -> Response:
        if name not in PAGE_FILES:
            raise HttpError(404, "the page has no file of that name")
        return page_file(name)

    async def icon() -> Response:
        return page_file("icon.svg")

    for path, route in (("/", page), ("/page/{name}", part), ("/favicon.ico", icon)):
        app.add_api_route(path, route, methods=["GET", "HEAD"], include_in_schema=False)
