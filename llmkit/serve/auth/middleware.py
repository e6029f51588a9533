"""The middleware around every route: host and origin checks, authentication, scopes, rate and body limits."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from llmkit.errors import DataError, LlmkitError
from llmkit.serve.auth.principal import ANONYMOUS, LOCAL_PRINCIPAL, Principal
from llmkit.serve.auth.rate_limit import RateLimiter
from llmkit.serve.errors import HttpError, error_body, error_headers, to_http_error
from llmkit.serve.json_encoding import encode_json
from llmkit.serve.runtime.log import log_failure, log_request
from llmkit.serve.runtime.service import Service

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

_REQUEST_ID = re.compile(r"[\w.-]{1,64}")
_UPLOAD_PATH = "/api/knowledge/files"
_WRONG_KEYS_PER_MINUTE = 60  # per address
_PUBLIC = re.compile(r"/|/page/[\w.-]+|/healthz|/readyz|/openapi\.json|/favicon\.ico")
_SCOPES: tuple[tuple[str, re.Pattern[str], str], ...] = (
    ("POST DELETE", re.compile(r"/api/knowledge/(files|forget)"), "ingest"),
    ("GET HEAD POST PUT DELETE", re.compile(r"/v1/.*|/api/(me|knowledge|sessions|feedback|traces)(/.*)?"), "ask"),
)
_SECURITY_HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cache-control": "no-store",
}


def required_scope(method: str, path: str) -> str | None:
    """Return the scope that a request needs; None where no key is needed. Unknown paths need ``admin``."""
    if _PUBLIC.fullmatch(path):
        return None
    for methods, pattern, scope in _SCOPES:
        if method in methods.split() and pattern.fullmatch(path):
            return scope
    return "admin"


class AccessMiddleware:
    """ASGI middleware that checks a request before the application sees it, and logs how the request ended.

    Args:
        app: the application behind the middleware.
        get_service: returns the server's service; called once for each request, after the application has started.
    """

    def __init__(self, app: App, get_service: Callable[[], Service]) -> None:
        self._app, self._get_service = app, get_service
        self._rates = RateLimiter()

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        service = self._get_service()
        exchange = _Exchange(scope, receive, send, service)
        try:
            exchange.caller = self._authorize(exchange, service)
            scope.setdefault("state", {}).update(caller=exchange.caller, request_id=exchange.id)
            await self._app(scope, exchange.receive, exchange.send)
        except Exception as error:
            if not isinstance(error, LlmkitError):
                log_failure(exchange.id, error)
            if not exchange.response_started:
                await exchange.send_error(to_http_error(error))
        finally:
            route = getattr(scope.get("route"), "path", "none")
            seconds = time.perf_counter() - exchange.started
            service.metrics.record_request(route, exchange.method, exchange.status, seconds)
            log_request(exchange.id, exchange.caller.id, exchange.method, route, exchange.status, seconds)

    @property
    def service(self) -> Service:
        """The service behind the application; it exists once the application has started."""
        return self._get_service()

    def _authorize(self, exchange: _Exchange, service: Service) -> Principal:
        """Return the principal of a request that may go on.

        Raises:
            HttpError: a wrong host or origin, no valid key, a missing scope, too many requests, or too large a body.
        """
        settings = service.settings
        host = _hostname(exchange.header("host"))
        if host is None or host not in settings.known_hosts:
            raise HttpError(
                421, "this server does not answer under that host name: see --allow-host", code="unknown_host"
            )
        origin, site = exchange.header("origin").lower(), exchange.header("sec-fetch-site")
        other_origin = origin and origin.partition("://")[2] != exchange.header("host").lower()
        if other_origin or (site in ("cross-site", "same-site") and exchange.header("sec-fetch-mode") != "navigate"):
            raise HttpError(403, "web pages of other sites may not use this server", code="cross_origin")
        caller = LOCAL_PRINCIPAL if settings.is_open else self._authenticate(exchange, service)
        scope = required_scope(exchange.method, exchange.path)
        if scope is not None and caller is ANONYMOUS:
            problem = "the key of this request is unknown or revoked" if exchange.key else "this request has none"
            raise HttpError(
                401,
                f"an API key is needed, and {problem}: send Authorization: Bearer llmkit-… or X-Api-Key: llmkit-…",
                code="invalid_api_key",
            )
        if scope is not None and not caller.may(scope):
            raise HttpError(403, f"this key lacks the scope {scope!r}, which the request needs", code="scope")
        if caller.rate is not None and scope is not None:
            self._rates.take_token(caller.id, caller.rate)
        exchange.limit_body(_max_body(exchange, caller, service))
        return caller

    def _authenticate(self, exchange: _Exchange, service: Service) -> Principal:
        if not exchange.key:
            return ANONYMOUS
        try:
            caller = service.keys.authenticate(exchange.key)
        except DataError as error:
            raise HttpError(503, str(error), code="keys") from error
        if caller is None:
            self._rates.take_token(f"wrong {exchange.client}", _WRONG_KEYS_PER_MINUTE)
            return ANONYMOUS
        return caller


class _Exchange:
    """One request and its response."""

    def __init__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send, service: Service) -> None:
        self.started = time.perf_counter()
        self.method, self.path = str(scope["method"]), str(scope["path"])
        self.client = (scope.get("client") or ("?",))[0]
        self.caller = ANONYMOUS
        self.status = 0
        self.response_started = False
        self._headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        request_id = self.header("x-request-id")
        self.id = request_id if _REQUEST_ID.fullmatch(request_id) else f"rq-{secrets.token_hex(8)}"
        self._receive, self._send, self._settings = receive, send, service.settings
        self._max_bytes = self._received_bytes = 0
        self._body_complete = False

    def header(self, name: str) -> str:
        """Return a header's value; empty where the request does not have it."""
        value: str = self._headers.get(name, "")
        return value

    @property
    def key(self) -> str:
        """The API key of the request, from ``Authorization: Bearer`` or ``X-Api-Key``; empty where it has none."""
        scheme, _, value = self.header("authorization").partition(" ")
        key = value if scheme.lower() == "bearer" else ""
        return key.strip() or self.header("x-api-key").strip()

    def limit_body(self, max_bytes: int) -> None:
        """Refuse a body whose declared length is over a limit; :meth:`receive` stops one that turns out to be.

        Raises:
            HttpError: 413, the declared length is over the limit.
        """
        self._max_bytes = max_bytes
        length = self.header("content-length")
        if length and (not length.isdigit() or int(length) > max_bytes):
            raise HttpError(413, f"the body is over the limit of {max_bytes} bytes", code="too_large")

    async def receive(self) -> Message:
        """Return the next piece of the body, in time and within the limit; after the last one, the disconnection."""
        if self._body_complete:
            return await self._receive()
        settings = self._settings
        allowed = settings.read_seconds + self._received_bytes / settings.min_body_rate
        remaining = allowed - (time.perf_counter() - self.started)
        try:
            async with asyncio.timeout(max(0.001, remaining)):
                message = await self._receive()
        except TimeoutError:
            raise _http_exception(408, "the body came too slowly") from None
        if message["type"] == "http.request":
            self._received_bytes += len(message.get("body", b""))
            self._body_complete = not message.get("more_body", False)
            if self._received_bytes > self._max_bytes:
                raise _http_exception(413, f"the body is over the limit of {self._max_bytes} bytes")
        return message

    async def send(self, message: Message) -> None:
        """Pass a message of the response on, with the headers that every response has."""
        if message["type"] == "http.response.start":
            self.response_started, self.status = True, message["status"]
            present = {name.lower() for name, _ in message["headers"]}
            added = {"x-request-id": self.id, **_SECURITY_HEADERS}
            if not self._body_complete and self.method in ("POST", "PUT"):
                added["connection"] = "close"  # the rest of the body is not read
            message["headers"] = [
                *message["headers"],
                *((name.encode(), value.encode()) for name, value in added.items() if name.encode() not in present),
            ]
        await self._send(message)

    async def send_error(self, error: HttpError) -> None:
        """Send an error as the response."""
        content = encode_json(error_body(error, self.id, self.caller))
        values = {"content-type": "application/json", "content-length": str(len(content)), **error_headers(error)}
        headers = [(name.lower().encode(), value.encode()) for name, value in values.items()]
        await self.send({"type": "http.response.start", "status": error.status, "headers": headers})
        await self.send({"type": "http.response.body", "body": b"" if self.method == "HEAD" else content})


def _max_body(exchange: _Exchange, caller: Principal, service: Service) -> int:
    settings = service.settings
    if (exchange.method, exchange.path) != ("POST", _UPLOAD_PATH):
        return settings.max_json
    return settings.max_upload if caller.max_upload is None else min(settings.max_upload, caller.max_upload)


def _hostname(value: str) -> str | None:
    """Return the name in a Host header, in lower case and without the port; None where the header is malformed."""
    try:
        return urlsplit(f"//{value}").hostname if value and "@" not in value and "/" not in value else None
    except ValueError:
        return None


def _http_exception(status: int, text: str) -> Exception:
    """Return the kind of error that FastAPI lets through while it reads a body."""
    from starlette.exceptions import HTTPException

    return HTTPException(status, text)
