"""What went wrong, as a status and a body that OpenAI's clients understand."""

from __future__ import annotations

import re
from typing import Any

from llmkit.errors import (
    Busy,
    Cancelled,
    ConfigError,
    DataError,
    KnowledgeError,
    LlmkitError,
    MissingExtra,
    ModelError,
    PromptError,
    StepError,
    TooLong,
)
from llmkit.serve.auth.principal import Caller, Refused

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
_PATH = re.compile(r"(?<![\w.:/])/(?:[^\s/:'\",;()]+/)+[^\s:'\",;()]*")


def refusal(error: BaseException) -> Refused:
    """Any error as one with a status."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, StepError):
        cause = error.__cause__
        told = refusal(cause) if isinstance(cause, LlmkitError) else Refused(500, "")
        return Refused(told.status, str(error), code=told.code, retry_after=told.retry_after)
    if isinstance(error, TooLong):
        return Refused(400, str(error), code="context_length_exceeded")
    if isinstance(error, ModelError):
        return Refused(503, str(error), code="model_failed", retry_after=error.retry_after or 5)
    if isinstance(error, MissingExtra):
        return Refused(503, str(error), code="not_installed")
    if isinstance(error, Cancelled):
        return Refused(503, str(error), code="stopped", retry_after=5)
    if isinstance(error, Busy):
        return Refused(409, str(error), code="busy", retry_after=10)
    if isinstance(error, KnowledgeError):
        return Refused(503, str(error), retry_after=10)
    if isinstance(error, DataError | ConfigError | PromptError):
        return Refused(400, str(error))
    if isinstance(error, LlmkitError):
        return Refused(500, str(error))
    return Refused(500, "something went wrong that should not; the log says what, under this request id")


def body(error: Refused, request: str, caller: Caller | None = None) -> dict[str, Any]:
    """The JSON of an error. Paths of this machine are told to those who sit at it, or administrate it."""
    message = str(error)
    if caller is None or not caller.may("admin"):
        message = _PATH.sub("(a path)", message)
    kind = _TYPES.get(error.status, "server_error" if error.status >= 500 else "invalid_request_error")
    return {
        "error": {"message": message, "type": kind, "param": None, "code": error.code, "request_id": request},
    }


def headers(error: Refused) -> dict[str, str]:
    """Headers that go with an error."""
    told = {} if error.retry_after is None else {"Retry-After": str(max(1, round(error.retry_after)))}
    if error.status == 401:
        told["WWW-Authenticate"] = "Bearer"
    return told
