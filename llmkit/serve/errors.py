"""Errors of the server: an HTTP status, and a JSON body in the form that OpenAI's clients read."""

from __future__ import annotations

import re
from typing import Any

from llmkit.errors import (
    Busy,
    Cancelled,
    ConfigError,
    DataError,
    EmptyReply,
    IncompleteReply,
    KnowledgeError,
    LlmkitError,
    MissingExtra,
    ModelError,
    ModelRefusal,
    PromptError,
    ReplyError,
    StepError,
    TooLong,
)
from llmkit.serve.auth.principal import Principal

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
_PATH = re.compile(r"(?<![\w.:/])/(?:[^\s/:'\",;()]+/)+[^\s:'\",;()]*")


class HttpError(LlmkitError):
    """A request that the server does not fulfil.

    Args:
        status: HTTP status code.
        message: what was wrong, and what to do.
        code: the ``code`` of the JSON body, for programs.
        retry_after: seconds after which the client should try again.
    """

    def __init__(self, status: int, message: str, *, code: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.retry_after = retry_after


def to_http_error(error: BaseException) -> HttpError:
    """Translate any exception to an :class:`HttpError`."""
    if isinstance(error, HttpError):
        return error
    if isinstance(error, StepError):
        cause = error.__cause__
        of_cause = to_http_error(cause) if isinstance(cause, LlmkitError) else HttpError(500, "")
        return HttpError(of_cause.status, str(error), code=of_cause.code, retry_after=of_cause.retry_after)
    if isinstance(error, ReplyError):
        return HttpError(502, str(error), code=_reply_error_code(error))
    if isinstance(error, TooLong):
        return HttpError(400, str(error), code="context_length_exceeded")
    if isinstance(error, ModelError):
        return HttpError(503, str(error), code="model_failed", retry_after=error.retry_after or 5)
    if isinstance(error, MissingExtra):
        return HttpError(503, str(error), code="not_installed")
    if isinstance(error, Cancelled):
        return HttpError(503, str(error), code="stopped", retry_after=5)
    if isinstance(error, Busy):
        return HttpError(409, str(error), code="busy", retry_after=10)
    if isinstance(error, KnowledgeError):
        return HttpError(503, str(error), retry_after=10)
    if isinstance(error, DataError | ConfigError | PromptError):
        return HttpError(400, str(error))
    if isinstance(error, LlmkitError):
        return HttpError(500, str(error))
    return HttpError(500, "internal error: look for this request id in the server's log")


def error_body(error: HttpError, request_id: str, caller: Principal | None = None) -> dict[str, Any]:
    """Return the JSON body of an error. Only callers with the scope ``admin`` see file paths of the server."""
    message = str(error)
    if caller is None or not caller.may("admin"):
        message = _PATH.sub("(a path)", message)
    kind = _TYPES.get(error.status, "server_error" if error.status >= 500 else "invalid_request_error")
    return {
        "error": {"message": message, "type": kind, "param": None, "code": error.code, "request_id": request_id},
    }


def error_headers(error: HttpError) -> dict[str, str]:
    """Return the headers of an error's response: ``Retry-After`` and others, where they apply."""
    headers = {} if error.retry_after is None else {"Retry-After": str(max(1, round(error.retry_after)))}
    if error.status == 502:
        headers["X-Should-Retry"] = "false"  # OpenAI's clients repeat every other 5xx, and the reply would be the same
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return headers


def _reply_error_code(error: ReplyError) -> str:
    codes = {ModelRefusal: "model_refusal", EmptyReply: "empty_reply", IncompleteReply: "incomplete_reply"}
    return next((code for kind, code in codes.items() if isinstance(error, kind)), "model_failed")
