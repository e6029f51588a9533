"""Everything a request passes before a route sees it: who it is for, who sends it, how much, how fast."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from llmkit.errors import DataError, LlmkitError
from llmkit.serve.auth.principal import LOCAL, NOBODY, Caller, Refused
from llmkit.serve.auth.rate_limit import Pace
from llmkit.serve.errors import body, headers, refusal
from llmkit.serve.runtime.log import access, failure

if TYPE_CHECKING:
    from llmkit.serve.runtime.service import Service

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

_REQUEST = re.compile(r"[\w.-]{1,64}")
UPLOAD = "/api/knowledge/files"
_OPEN = re.compile(r"/|/page/[\w.-]+|/healthz|/readyz|/openapi\.json|/favicon\.ico")
_SCOPES: tuple[tuple[str, re.Pattern[str], str], ...] = (
    ("POST DELETE", re.compile(r"/api/knowledge/(files|forget)"), "ingest"),
    ("GET POST PUT DELETE", re.compile(r"/v1/.*|/api/(me|knowledge|sessions|feedback|traces)(/.*)?"), "ask"),
)
_SAFE = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cache-control": "no-store",
}


def scope_of(method: str, path: str) -> str | None:
    """The scope a request needs; None where anybody may send it. What is not known here needs ``admin``."""
    if _OPEN.fullmatch(path):
        return None
    for methods, pattern, scope in _SCOPES:
        if method in methods.split() and pattern.fullmatch(path):
            return scope
    return "admin"


class Gate:
    """Wraps the application."""

    def __init__(self, app: App, service: Callable[[], Service]) -> None:
        self._app, self._service = app, service
        self._pace = Pace()

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        service = self._service()
        visit = _Visit(scope, receive, send, service)
        try:
            visit.caller = self._let_in(visit, service)
            scope.setdefault("state", {}).update(caller=visit.caller, request_id=visit.id)
            await self._app(scope, visit.receive, visit.send)
        except Exception as error:
            if not isinstance(error, LlmkitError):
                failure(visit.id, error)
            if not visit.answered:
                await visit.refuse(refusal(error))
        finally:
            route = getattr(scope.get("route"), "path", "none")
            seconds = time.perf_counter() - visit.started
            service.metrics.request(route, visit.method, visit.status, seconds)
            access(visit.id, visit.caller.id, visit.method, route, visit.status, seconds)

    @property
    def service(self) -> Service:
        """What is behind it, once it has started."""
        return self._service()

    def _let_in(self, visit: _Visit, service: Service) -> Caller:
        settings = service.settings
        host = _host(visit.header("host"))
        if host is None or host not in settings.known_hosts:
            raise Refused(421, "this server is not called by that name: see --allow-host", code="unknown_host")
        origin, site = visit.header("origin").lower(), visit.header("sec-fetch-site")
        foreign = origin and origin.partition("://")[2] != visit.header("host").lower()
        if foreign or (site in ("cross-site", "same-site") and visit.header("sec-fetch-mode") != "navigate"):
            raise Refused(403, "pages of other sites may not use this server", code="cross_origin")
        caller = LOCAL if settings.open else self._caller(visit, service)
        needed = scope_of(visit.method, visit.path)
        if needed is not None and caller is NOBODY:
            why = "the one that came is unknown or revoked" if visit.header("authorization") else "none came"
            raise Refused(
                401, f"this needs an API key, and {why}: Authorization: Bearer llmkit-…", code="invalid_api_key"
            )
        if needed is not None and not caller.may(needed):
            raise Refused(403, f"this key may not do that: it needs the scope {needed!r}", code="scope")
        if caller.rate is not None and needed is not None:
            self._pace.step(caller.id, caller.rate)
        upload = (visit.method, visit.path) == ("POST", UPLOAD)
        most = settings.max_json
        if upload:
            most = settings.max_upload if caller.max_upload is None else min(settings.max_upload, caller.max_upload)
        visit.limit(most)
        return caller

    def _caller(self, visit: _Visit, service: Service) -> Caller:
        scheme, _, key = visit.header("authorization").partition(" ")
        if scheme.lower() != "bearer" or not key:
            return NOBODY
        try:
            caller = service.keys.caller(key.strip())
        except DataError as error:
            raise Refused(503, str(error), code="keys") from error
        if caller is None:
            self._pace.step(f"wrong {visit.client}", 60)  # wrong keys of one address: a minute's worth of guesses
            return NOBODY
        return caller


class _Visit:
    """One request and what is sent back."""

    def __init__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send, service: Service) -> None:
        self.started = time.perf_counter()
        self.method, self.path = str(scope["method"]), str(scope["path"])
        self.client = (scope.get("client") or ("?",))[0]
        self.caller = NOBODY
        self.status = 0
        self.answered = False
        self._headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        given = self.header("x-request-id")
        self.id = given if _REQUEST.fullmatch(given) else f"rq-{secrets.token_hex(8)}"
        self._receive, self._send, self._settings = receive, send, service.settings
        self._most = self._seen = 0
        self._whole = False

    def header(self, name: str) -> str:
        """A header's value; empty where it is not there."""
        found: str = self._headers.get(name, "")
        return found

    def limit(self, most: int) -> None:
        """Refuse a body that says it is larger, and stop one that turns out to be."""
        self._most = most
        length = self.header("content-length")
        if length and (not length.isdigit() or int(length) > most):
            raise Refused(413, f"the body is larger than the {most} bytes that go here", code="too_large")

    async def receive(self) -> Message:
        """The next piece of the body, in time and within the limit; once it is whole, the news that the client left."""
        if self._whole:
            return await self._receive()
        settings = self._settings
        left = settings.read_seconds + self._seen / settings.least_rate - (time.perf_counter() - self.started)
        try:
            async with asyncio.timeout(max(0.001, left)):
                message = await self._receive()
        except TimeoutError:
            raise _http(408, "the body came too slowly") from None
        if message["type"] == "http.request":
            self._seen += len(message.get("body", b""))
            self._whole = not message.get("more_body", False)
            if self._seen > self._most:
                raise _http(413, f"the body is larger than the {self._most} bytes that go here")
        return message

    async def send(self, message: Message) -> None:
        """Send on, with the headers every answer has."""
        if message["type"] == "http.response.start":
            self.answered, self.status = True, message["status"]
            there = {name.lower() for name, _ in message["headers"]}
            more = {"x-request-id": self.id, **_SAFE}
            if not self._whole and self.method in ("POST", "PUT"):
                more["connection"] = "close"  # the rest of the body is not read
            message["headers"] = [
                *message["headers"],
                *((n.encode(), v.encode()) for n, v in more.items() if n.encode() not in there),
            ]
        await self._send(message)

    async def refuse(self, error: Refused) -> None:
        """Answer with an error."""
        content = json.dumps(body(error, self.id, self.caller), ensure_ascii=False).encode()
        told = {"content-type": "application/json", "content-length": str(len(content)), **headers(error)}
        head = [(name.lower().encode(), value.encode()) for name, value in told.items()]
        await self.send({"type": "http.response.start", "status": error.status, "headers": head})
        await self.send({"type": "http.response.body", "body": content})


def _host(value: str) -> str | None:
    """The name in a Host header, in small letters, without the port."""
    try:
        return urlsplit(f"//{value}").hostname if value and "@" not in value and "/" not in value else None
    except ValueError:
        return None


def _http(status: int, text: str) -> Exception:
    """What FastAPI passes on while it reads a body."""
    from starlette.exceptions import HTTPException

    return HTTPException(status, text)
