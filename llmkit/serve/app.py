"""The application: routes, errors, the page, behind the gate."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any

from llmkit.errors import LlmkitError
from llmkit.extras import need
from llmkit.serve.auth.middleware import Gate
from llmkit.serve.auth.principal import Refused
from llmkit.serve.errors import body, headers, refusal
from llmkit.serve.runtime.pipeline_registry import Menu
from llmkit.serve.settings import Settings
from llmkit.version import __version__

_SCRIPTS = "theme app api dom chat answer decide files reader why history panel".split()
PAGE = {
    "index.html": "text/html; charset=utf-8",
    "style.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
    **{f"{name}.js": "text/javascript; charset=utf-8" for name in _SCRIPTS},
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)


def make_app(settings: Settings, menu: Callable[[], Menu] | None = None) -> Gate:
    """The ASGI application of a server.

    Args:
        settings: of the server.
        menu: makes what is served instead of what the settings name.

    Raises:
        MissingExtra: the extra ``serve`` is not installed.
    """
    fastapi = need("fastapi", feature="the server", extra="serve")
    need("python_multipart", feature="the server", extra="serve")
    from llmkit.serve.runtime.service import Service

    @asynccontextmanager
    async def life(app: Any) -> AsyncIterator[None]:
        app.state.service = service = Service(settings, menu() if menu is not None else None)
        try:
            yield
        finally:
            await service.close()

    app = fastapi.FastAPI(
        title="llmkit",
        version=__version__,
        description="Answers from your documents, with citations. `/v1` speaks OpenAI's interface.",
        lifespan=life,
        docs_url=None,  # both load scripts from elsewhere
        redoc_url=None,
        openapi_url="/openapi.json",
    )
    _routes(app)
    _errors(app)
    _page(app)
    return Gate(app, lambda: app.state.service)


def _routes(app: Any) -> None:
    from llmkit.serve.routes import chat_completions, embeddings, feedback, health, knowledge, responses, sessions

    every = (chat_completions, responses, embeddings, knowledge, sessions, feedback, health)
    for module in every:
        app.include_router(module.router)


def _errors(app: Any) -> None:
    from fastapi.exceptions import RequestValidationError
    from starlette.exceptions import HTTPException
    from starlette.requests import Request
    from starlette.responses import JSONResponse

    def told(request: Request, error: Refused) -> JSONResponse:
        state = request.state
        return JSONResponse(body(error, state.request_id, state.caller), error.status, headers(error))

    async def ours(request: Request, error: Exception) -> JSONResponse:
        return told(request, refusal(error))

    async def http(request: Request, error: HTTPException) -> JSONResponse:
        nowhere = error.status_code in (404, 405)  # ours are Refused, and say what there is not
        why = f"{error.detail}: /openapi.json describes what there is" if nowhere else str(error.detail)
        answer = told(request, Refused(error.status_code, why))
        answer.headers.update(error.headers or {})
        return answer

    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return told(request, Refused(422, "; ".join(map(_problem, error.errors()[:10])), code="invalid"))

    app.add_exception_handler(LlmkitError, ours)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(Exception, ours)


def _problem(one: Any) -> str:
    if one["type"] == "json_invalid":
        return f"the body is not JSON: {one['ctx']['error']}, at character {one['loc'][-1]}"
    if one["loc"] == ("body",) and isinstance(one["input"], bytes):
        return "the body is not read as JSON: it needs the header Content-Type: application/json"
    return f"{'.'.join(map(str, one['loc'][1:])) or one['loc'][0]}: {one['msg']}"


def _page(app: Any) -> None:
    from starlette.responses import Response

    folder = files("llmkit.serve") / "page"
    contents = {name: (folder / name).read_bytes() for name in PAGE}

    def one(name: str) -> Response:
        return Response(contents[name], media_type=PAGE[name], headers={"content-security-policy": _POLICY})

    async def page() -> Response:
        return one("index.html")

    async def part(name: str) -> Response:
        if name not in PAGE:
            raise Refused(404, "there is no such part of the page")
        return one(name)

    async def icon() -> Response:
        return one("icon.svg")

    for path, route in (("/", page), ("/page/{name}", part), ("/favicon.ico", icon)):
        app.add_api_route(path, route, include_in_schema=False)
