"""What a server says went wrong, as an error that says what to do."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from llmkit.errors import BadResponse, ModelError, ModelRefusal, TooLong
from llmkit.models.retry import RETRYABLE
from llmkit.replies.characters import join_halves
from llmkit.replies.reply import Reply

_SHOWN = 300
_QUOTA = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "insufficient_balance"})
_TOO_LONG = re.compile(
    r"context[_ ]length[_ ]exceeded|maximum context length|exceed_context_size|context window|prompt is too long"
    r"|input token count .* exceeds|too many tokens in the prompt|longer than the model's context",
    re.IGNORECASE,
)
_REFUSED = re.compile(
    r"unsupported|unknown|unrecognized|unexpected|not permitted|not supported|not allowed|does not support|extra inputs"
    r"|extra fields|invalid|forbidden|no such field|cannot find field",
    re.IGNORECASE,
)
_RETRY_IN = re.compile(r"(?:retry|try again) (?:after|in) (\d+(?:\.\d+)?)\s*(ms|s|sec|seconds?|m|minutes?)\b", re.I)
_REMEDIES = {
    "temperature": "set `temperature: null` in the model's spec to leave it out",
    "max_tokens": "set `max_tokens_field: max_completion_tokens` in the model's spec, or null to leave it out",
    "max_completion_tokens": "set `max_tokens_field: max_tokens` in the model's spec, or null to leave it out",
    "stream_options": "set `stream_options: false` in the model's spec to leave it out",
    "seed": "set `seed: null` in the model's spec, and `seed: null` of the step that samples",
    "stop": "set `stop: []` in the model's spec to leave it out",
    "reasoning_effort": "set `reasoning_effort: null` in the model's spec to leave it out",
    "response_format": "the server takes no JSON schema: set `constrain: false` of the step",
    "tools": "this model or server calls no tools: see docs/models.md for the option that turns them on",
    "tool_choice": "this model or server calls no tools: see docs/models.md for the option that turns them on",
}
_TYPES = {"rate_limit": 429, "overloaded": 529, "server_error": 500, "timeout": 504, "unavailable": 503}


def error_of_status(status: int, headers: Mapping[str, str], body: str, sent: Mapping[str, Any]) -> ModelError:
    """The error of an HTTP status that is not 200.

    Args:
        status: of the response.
        headers: of the response, their names in any case.
        body: of the response.
        sent: the request, for the name of a parameter that the server refuses.
    """
    try:
        payload = json.loads(body)
    except (ValueError, RecursionError):
        payload = None
    detail = payload if isinstance(payload, Mapping) else {}
    if isinstance(payload, list) and payload and isinstance(payload[0], Mapping):
        detail = payload[0]  # Gemini
    message, code, kind, param = _parts(detail)
    said = message or _plain(body) or "no reason given"
    wait = _wait(headers, said, detail)
    return _error(status, said, code, kind, param, wait, sent)


def error_of_payload(payload: Mapping[str, Any], sent: Mapping[str, Any]) -> ModelError:
    """The error of an error object that came with status 200, or in the middle of a stream."""
    message, code, kind, param = _parts(payload)
    said = message or _plain(json.dumps(payload, ensure_ascii=False))
    status = next((int(one) for one in (code, kind) if one.isdigit() and 400 <= int(one) < 600), None)
    if status is None:
        words = f"{code} {kind}".casefold()
        status = next((number for word, number in _TYPES.items() if word in words), None)
    if status is None and ("invalid_request" in kind or "invalid" in code):
        status = 400
    if status is None:
        return ModelError(f"the server reports an error inside its reply: {said}", retryable=True)
    return _error(status, said, code, kind, param, _wait({}, said, payload), sent)


def is_error(payload: Mapping[str, Any]) -> bool:
    """Whether a JSON object of a server is an error, in one of the forms that are in use."""
    if payload.get("error"):
        return True
    if payload.get("object") == "error" or payload.get("type") == "error":
        return True
    return "choices" not in payload and any(payload.get(key) for key in ("detail", "message", "errors"))


def not_the_protocol(what: str, came: str, url: str) -> BadResponse:
    """The error of a response that is no chat completion."""
    return BadResponse(
        f"{url} answered with {what}, not with a chat completion ({_plain(came)!r}): is the address right "
        "(OPENAI_BASE_URL, usually ending in /v1), and is there a proxy between?"
    )


def _error(
    status: int, said: str, code: str, kind: str, param: str, wait: float | None, sent: Mapping[str, Any]
) -> ModelError:
    if status in (401, 403):
        return ModelError(f"the server refused the key ({status}): {said}")
    if status == 402 or {code, kind} & _QUOTA:
        return ModelError(f"the account has no quota left ({status}): {said}")
    if "content_filter" in (code, kind) or "content management policy" in said:
        return ModelRefusal(f"the server's content filter refused the prompt: {said}", reply=Reply(refusal=said))
    if _TOO_LONG.search(f"{code} {kind} {said}"):
        return TooLong(f"the prompt is longer than the model's window ({status}): {said}")
    if status == 404:
        return ModelError(f"the server does not know this model or address (404): {said}")
    if status in (301, 302, 303, 307, 308):
        return ModelError(f"the server answered {status}, a redirect: set OPENAI_BASE_URL to where it leads: {said}")
    remedy = _remedy(said, param, sent) if status in (400, 415, 422) else ""
    return ModelError(
        f"the server answered {status}: {said.rstrip('.') if remedy else said}{remedy}",
        retryable=status in RETRYABLE,
        retry_after=wait,
    )


def _remedy(said: str, param: str, sent: Mapping[str, Any]) -> str:
    """Which key of the spec leaves out the parameter that a server refuses."""
    if re.search(r"tool.choice requires|tool-call-parser", said):
        return f". The parameter `tools`: {_REMEDIES['tools']}"
    if re.search(r"system role", said, re.IGNORECASE):
        return ". The model's chat template takes no system message: use a prompt without one"
    if not param and not _REFUSED.search(said):
        return ""
    names = [name for name in sent if name not in ("model", "messages", "stream")]
    named = [name for name in names if name == param.partition(".")[0]]
    named = named or [name for name in names if re.search(rf"['\"`:]\s*{re.escape(name)}\b", said)]
    named = named or [name for name in names if "_" in name and re.search(rf"\b{re.escape(name)}\b", said)]
    named = named or [name for name in names if name == "temperature" and name in said]
    if not named:
        return ""
    name = named[0]
    return f". The parameter `{name}`: {_REMEDIES.get(name, f'take it out of `extra_body` (extra_body.{name})')}"


def _parts(payload: Mapping[str, Any]) -> tuple[str, str, str, str]:
    """Message, code, type and parameter of an error, whichever way a server writes them."""
    error = payload.get("error", payload)
    if isinstance(error, str):
        return _clean(error), str(payload.get("code") or ""), str(payload.get("type") or ""), ""
    if not isinstance(error, Mapping):
        return "", "", "", ""
    message = error.get("message") or error.get("detail") or error.get("msg") or error.get("errors") or ""
    if isinstance(message, list | dict):
        message = json.dumps(message, ensure_ascii=False)
    metadata = error.get("metadata")
    raw = metadata.get("raw") if isinstance(metadata, Mapping) else None  # OpenRouter: what the provider said
    said = f"{message} ({raw})" if isinstance(raw, str) and raw else str(message)
    kind = str(error.get("type") or error.get("status") or "")
    return _clean(said), str(error.get("code") or ""), kind, str(error.get("param") or "")


def _clean(text: str) -> str:
    text = " ".join(join_halves(text).text.split())
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _plain(body: str) -> str:
    """The words of a body, tags of HTML left out."""
    return _clean(re.sub(r"<(?:script|style).*?</(?:script|style)>|<[^>]*>", " ", body[:4000], flags=re.DOTALL))


def _wait(headers: Mapping[str, str], said: str, payload: Mapping[str, Any]) -> float | None:
    """Seconds the server asks to wait: by header, in Google's RetryInfo, or in words."""
    named = {name.casefold(): value.strip() for name, value in headers.items()}
    try:
        if named.get("retry-after-ms"):
            return max(0.0, float(named["retry-after-ms"]) / 1000)
        after = named.get("retry-after", "")
        if re.fullmatch(r"\d+(\.\d+)?", after):
            return float(after)
        if after:
            return max(0.0, parsedate_to_datetime(after).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        pass
    delay = re.search(r'"retryDelay":\s*"(\d+(?:\.\d+)?)s"', json.dumps(payload)) if payload else None
    if delay:
        return float(delay.group(1))
    words = _RETRY_IN.search(said)
    if words is None:
        return None
    unit = words.group(2).casefold()
    return float(words.group(1)) * (0.001 if unit == "ms" else 60 if unit.startswith("m") else 1)
