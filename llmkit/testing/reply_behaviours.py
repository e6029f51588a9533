"""What servers send: each behaviour has a name, what a client must make of it, and the response.

The behaviours are drawn from public reports about OpenAI, Azure, vLLM, SGLang, Ollama, llama-server, LM Studio,
LiteLLM, OpenRouter, DeepSeek, Mistral, Gemini's and Anthropic's OpenAI faces, and the proxies before them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any, Literal

from llmkit.testing.reply_wire import USAGE, Body, Events, Lost, Request, Response, Silent, call, delta, usage

Outcome = Literal["right", "told", "error"]
"""right: as from a server without fault. told: the text is of use, and the user is told what is wrong with it. error:
an error that says what came."""
Kind = Literal["reply", "call", "request"]
"""reply: of any question. call: of a model that was offered the tool ``calculator``. request: depends on what is
sent."""
REFUSAL = "I'm sorry, I cannot help with that."


@dataclass(frozen=True, slots=True)
class Behaviour:
    """One way of a server to answer."""

    name: str
    """The model's name that chooses it."""
    outcome: Outcome
    says: str
    """Regular expression for the note or the error that it leads to; empty where nothing is to be told."""
    kind: Kind
    respond: Callable[[Request], Response]
    retries: int = 0
    """Retries that it takes until the outcome."""


BEHAVIOURS: dict[str, Behaviour] = {}
"""All behaviours by name."""


def behaviour(
    name: str, outcome: Outcome, says: str = "", *, kind: Kind = "reply", retries: int = 0
) -> Callable[[Callable[[Request], Response]], Callable[[Request], Response]]:
    """Name the function below it as a behaviour."""

    def register(respond: Callable[[Request], Response]) -> Callable[[Request], Response]:
        assert name not in BEHAVIOURS, name
        BEHAVIOURS[name] = Behaviour(name, outcome, says, kind, respond, retries)
        return respond

    return register


def _simple(name: str, outcome: Outcome, says: str, respond: Callable[[Request], Response], **more: Any) -> None:
    behaviour(name, outcome, says, **more)(respond)


def _error(message: str, status: int, headers: dict[str, str] | None = None, **fields: Any) -> Body:
    return Body({"error": {"message": message, **fields}}, status, headers or {})


def _once(failing: Callable[[Request], Response]) -> Callable[[Request], Response]:
    """Fails the first time."""
    return lambda r: failing(r) if r.attempt == 1 else r.reply()


# ---- delivered in another way: the reply is right

_simple("plain", "right", "", lambda r: r.reply())
_simple("no-done-mark", "right", "", lambda r: r.events(delta(content=r.text), delta(finish="stop"), done=False))
_simple(
    "no-usage",
    "right",
    "",
    lambda r: (
        r.events(delta(content=r.text), delta(finish="stop")) if r.stream else r.whole({"content": r.text}, usage=None)
    ),
)
_simple(
    "usage-on-every-chunk",
    "right",
    "",
    lambda r: r.events(
        *({**delta(content=one), "usage": {**USAGE, "completion_tokens": n}} for n, one in enumerate(_thirds(r.text))),
        {**delta(finish="stop"), "usage": USAGE},
    ),
)
_simple(
    "usage-in-anthropics-words",
    "right",
    "",
    lambda r: (
        r.whole({"content": r.text}, usage={"input_tokens": 11, "output_tokens": 7}) if not r.stream else r.reply()
    ),
)
_simple(
    "content-as-parts",
    "right",
    "",
    lambda r: (
        r.events(*(delta(content=[{"type": "text", "text": one}]) for one in _thirds(r.text)), delta(finish="stop"))
        if r.stream
        else r.whole({"content": [{"type": "text", "text": one} for one in _thirds(r.text)]})
    ),
)
_simple(
    "content-as-one-part",
    "right",
    "",
    lambda r: r.whole({"content": {"type": "text", "text": r.text}}) if not r.stream else r.reply(),
)
_simple(
    "azure-filter-chunks",
    "right",
    "",
    lambda r: r.events(
        {
            "id": "",
            "object": "",
            "created": 0,
            "model": "",
            "choices": [],
            "prompt_filter_results": [{"prompt_index": 0}],
        },
        delta(role="assistant", content=""),
        *(delta(content=one) for one in _thirds(r.text)),
        {
            "id": "",
            "object": "",
            "model": "",
            "choices": [{"index": 0, "finish_reason": None, "content_filter_offsets": {}}],
        },
        delta(finish="stop"),
        usage(),
    ),
)
_simple(
    "comments-between-events",
    "right",
    "",
    lambda r: r.events(
        b": PROCESSING\n\n", delta(content=r.text), b": still here\n\nevent: ping\ndata: {}\n\n", delta(finish="stop")
    ),
)
_simple(
    "carriage-returns",
    "right",
    "",
    lambda r: r.events(
        *(b"data: " + json.dumps(one).encode() + b"\r\n\r\n" for one in (delta(content=r.text), delta(finish="stop")))
    ),
)
_simple(
    "events-without-empty-lines",
    "right",
    "",
    lambda r: r.events(
        *(b"data: " + json.dumps(one).encode() + b"\n" for one in (delta(content=r.text), delta(finish="stop")))
    ),
)
_simple(
    "no-space-after-data",
    "right",
    "",
    lambda r: r.events(
        *(b"data:" + json.dumps(one).encode() + b"\n\n" for one in (delta(content=r.text), delta(finish="stop")))
    ),
)
_simple(
    "named-events",
    "right",
    "",
    lambda r: r.events(
        *(
            b"event: chunk\nid: 7\nretry: 100\ndata: " + json.dumps(one).encode() + b"\n\n"
            for one in (delta(content=r.text), delta(finish="stop"))
        )
    ),
)
_simple(
    "data-over-two-lines",
    "right",
    "",
    lambda r: r.events(
        b"data: " + json.dumps(delta(content=r.text), indent=1).encode().replace(b"\n", b"\ndata: ") + b"\n\n",
        delta(finish="stop"),
    ),
)
_simple(
    "byte-order-mark",
    "right",
    "",
    lambda r: (
        r.events(b"\xef\xbb\xbfdata: " + json.dumps(delta(content=r.text)).encode() + b"\n\n", delta(finish="stop"))
        if r.stream
        else Body(b"\xef\xbb\xbf" + json.dumps(r.whole({"content": r.text}).data).encode())
    ),
)
_simple("whole-reply-to-a-stream", "right", "", lambda r: r.whole({"content": r.text}))
_simple(
    "compressed", "right", "", lambda r: Body(r.whole({"content": r.text}).data, headers={"Content-Encoding": "gzip"})
)
_simple(
    "another-choice-beside",
    "right",
    "",
    lambda r: r.events(
        delta(content=r.half),
        delta(index=1, content="Other "),
        delta(content=r.text[len(r.half) :]),
        delta(index=1, finish="length"),
        delta(finish="stop"),
    ),
)
_simple(
    "choice-without-index",
    "right",
    "",
    lambda r: (
        r.whole(None, choices=[{"message": {"content": r.text}, "finish_reason": "stop"}])
        if not r.stream
        else r.reply()
    ),
)
_simple(
    "role-on-every-chunk",
    "right",
    "",
    lambda r: r.events(
        *(delta(role="assistant", content=one) for one in _thirds(r.text)),
        delta(finish="stop", role="assistant", content=""),
    ),
)
_simple(
    "end-on-the-last-piece",
    "right",
    "",
    lambda r: r.events(delta(content=r.half), delta("stop", content=r.text[len(r.half) :])),
)
_simple(
    "empty-heartbeats",
    "right",
    "",
    lambda r: r.events(
        delta(content=""), delta(content=r.text), delta(content=None), delta(), delta(finish="stop"), delta(content="")
    ),
)
_simple(
    "null-delta",
    "right",
    "",
    lambda r: r.events(
        delta(content=r.text),
        {**delta(finish="stop"), "choices": [{"index": 0, "delta": None, "finish_reason": "stop"}]},
    ),
)
_simple(
    "message-in-a-chunk",
    "right",
    "",
    lambda r: r.events({**delta(), "choices": [{"index": 0, "message": {"content": r.text}, "finish_reason": "stop"}]}),
)
_simple(
    "text-of-old-completions",
    "right",
    "",
    lambda r: (
        r.whole(None, choices=[{"index": 0, "text": r.text, "finish_reason": "stop"}]) if not r.stream else r.reply()
    ),
)
_simple(
    "empty-fields-beside", "right", "", lambda r: r.reply(refusal=None, tool_calls=[], function_call=None, audio=None)
)
_simple("white-space-around", "right", "", lambda r: r.reply(f"\n\n  {r.text}\n "))
_simple(
    "raw-line-breaks-in-json",
    "right",
    "",
    lambda r: (
        Body(json.dumps(r.whole({"content": r.text + "|"}).data).encode().replace(b"|", b"\n"))
        if not r.stream
        else r.reply(r.text + "\n")
    ),
)
_simple("stopped-by-eos", "right", "", lambda r: r.reply(finish="eos"))
_simple("stopped-by-end-turn", "right", "", lambda r: r.reply(finish="end_turn"))
_simple("stopped-in-capitals", "right", "", lambda r: r.reply(finish="STOP"))
_simple(
    "after-the-done-mark",
    "right",
    "",
    lambda r: r.events(delta(content=r.text), delta(finish="stop"), b"data: [DONE]\n\n", delta(content=" and more")),
)
_simple(
    "lost-after-the-end",
    "right",
    "",
    lambda r: r.events(delta(content=r.text), delta(finish="stop"), done=False, end="abort"),
)
_simple(
    "split-within-bytes",
    "right",
    "",
    lambda r: r.events(
        *_bytewise(b"data: " + json.dumps(delta(content=r.text), ensure_ascii=False).encode() + b"\n\n"),
        delta(finish="stop"),
    ),
)

# ---- reasoning

_simple("reasoning-content", "right", "", lambda r: r.reply(reasoning_content="SECRET thought about 999 euros."))
_simple("reasoning-field", "right", "", lambda r: r.reply(reasoning="SECRET thought about 999 euros."))
_simple(
    "reasoning-twice",
    "right",
    "",
    lambda r: (
        r.whole(
            {
                "content": r.text,
                "reasoning": "SECRET",
                "reasoning_content": "SECRET",
                "reasoning_details": [{"text": "SECRET"}],
            }
        )
        if not r.stream
        else r.events(
            delta(reasoning="SECRET", reasoning_content="SECRET"), delta(content=r.text), delta(finish="stop")
        )
    ),
)
_simple("thinking-field", "right", "", lambda r: r.reply(thinking="SECRET thought."))
_simple(
    "thinking-parts",
    "right",
    "",
    lambda r: (
        r.whole(
            {
                "content": [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "SECRET"}]},
                    {"type": "text", "text": r.text},
                ]
            }
        )
        if not r.stream
        else r.events(
            delta(content=[{"type": "thinking", "thinking": [{"type": "text", "text": "SECRET"}]}]),
            delta(content=r.text),
            delta(finish="stop"),
        )
    ),
)
_simple("think-tags", "right", "", lambda r: r.reply(f"<think>\nSECRET: maybe 999 euros.\n</think>\n\n{r.text}"))
_simple("think-tags-empty", "right", "", lambda r: r.reply(f"<think>\n\n</think>\n\n{r.text}"))
_simple("thinking-tags", "right", "", lambda r: r.reply(f"<thinking>SECRET</thinking>{r.text}"))
_simple("think-brackets", "right", "", lambda r: r.reply(f"[THINK]SECRET[/THINK]{r.text}"))
_simple(
    "think-in-channels",
    "right",
    "",
    lambda r: r.whole(
        {"content": f"<|channel|>analysis<|message|>SECRET<|end|><|start|>assistant<|channel|>final<|message|>{r.text}"}
    ),
)
_simple(
    "think-without-opening",
    "told",
    "without an opening tag",
    lambda r: r.reply(f"SECRET: 999 euros.\n</think>\n\n{r.text}"),
)
_simple(
    "reasoning-only",
    "error",
    "spent its max_tokens on its reasoning",
    lambda r: r.reply("", "length", reasoning_content="SECRET thought. " * 5),
)
_simple("reasoning-then-nothing", "error", "reasoning only", lambda r: r.reply("", reasoning_content="SECRET"))
_simple(
    "think-never-closed",
    "error",
    "spent its max_tokens on its reasoning",
    lambda r: r.reply("<think>SECRET " * 4, "length"),
)

# ---- no reply

_simple("refusal", "error", "cannot help with that", lambda r: r.reply("", refusal=REFUSAL))
_simple(
    "refusal-with-null-content",
    "error",
    "cannot help with that",
    lambda r: r.whole({"content": None, "refusal": REFUSAL}),
)
_simple(
    "refusal-as-part",
    "error",
    "cannot help with that",
    lambda r: r.whole({"content": [{"type": "refusal", "refusal": REFUSAL}]}),
)
_simple(
    "refusal-in-pieces",
    "error",
    "cannot help with that",
    lambda r: (
        Events(
            [
                delta(role="assistant", content=None, refusal=""),
                *(delta(refusal=one) for one in _thirds(REFUSAL)),
                delta(finish="stop"),
            ]
        )
        if r.stream
        else r.whole({"content": "", "refusal": REFUSAL})
    ),
)
_simple("empty-text", "error", "no text", lambda r: r.reply(""))
_simple("null-content", "error", "no text", lambda r: r.whole({"content": None}))
_simple("white-space-only", "error", "no text", lambda r: r.reply(" \n\n "))
_simple("no-message", "error", "no text", lambda r: r.whole(None))
_simple(
    "choices-empty", "error", "without choices", lambda r: Events([usage()]) if r.stream else r.whole(None, choices=[])
)
_simple(
    "choices-null",
    "error",
    "without choices",
    lambda r: Events([{**delta(), "choices": None}]) if r.stream else r.whole(None, choices=None, usage=None),
)
_simple("choices-missing", "error", "without choices", lambda r: Body({"id": "x", "object": "chat.completion"}))
_simple("done-at-once", "error", "without choices", lambda r: Events([]) if r.stream else r.whole(None, choices=[]))
_simple("filtered-wholly", "error", "content filter", lambda r: r.reply("", "content_filter"))
_simple(
    "prompt-filtered",
    "error",
    "content filter refused the prompt",
    lambda r: _error(
        "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.",
        400,
        code="content_filter",
        type=None,
        param="prompt",
    ),
)
_simple("length-without-text", "error", "max_tokens", lambda r: r.reply("", "length"))

# ---- how it ended

_simple("cut-at-max-tokens", "told", "cut off at the model's max_tokens", lambda r: r.reply(r.half, "length"))
_simple("cut-in-googles-words", "told", "cut off at the model's max_tokens", lambda r: r.reply(r.half, "MAX_TOKENS"))
_simple("cut-by-filter", "told", "content filter cut", lambda r: r.reply(r.half, "content_filter"))
_simple("cut-by-safety", "told", "content filter cut", lambda r: r.reply(r.half, "SAFETY"))
_simple("end-not-said", "told", "did not say how the reply ended", lambda r: r.reply(finish=None))
_simple("end-is-empty", "told", "did not say how the reply ended", lambda r: r.reply(finish=""))
_simple("end-is-unknown", "told", "'abort', which llmkit does not know", lambda r: r.reply(r.half, "abort"))
_simple("end-is-error", "error", "ended the reply with 'error'", lambda r: r.reply(r.half, "error"))
_simple(
    "end-for-lack-of-resources",
    "error",
    "insufficient_system_resource",
    lambda r: r.reply(r.half, "insufficient_system_resource"),
)
_simple(
    "half-closed",
    "error",
    "ended after|incomplete|the connection",
    lambda r: (
        Events([delta(content=""), delta(content=r.half)], done=False, end="close")
        if r.stream
        else Body(r.whole({"content": r.half}).data, length=5000)
    ),
)
_simple(
    "half-aborted",
    "error",
    "ended after|the connection",
    lambda r: (
        Events([delta(content=r.half)], done=False, end="abort")
        if r.stream
        else Body(r.whole({"content": r.half}).data, length=5000)
    ),
)
_simple(
    "half-hanging",
    "error",
    "silent for",
    lambda r: Events([delta(content=r.half)], done=False, end="hang") if r.stream else Silent(),
)
_simple("never-answers", "error", "silent for", lambda r: Silent())
_simple("closes-at-once", "error", "does not answer|the connection", lambda r: Lost())
_simple(
    "body-shorter-than-told",
    "error",
    "the connection|not JSON",
    lambda r: Body(json.dumps(r.whole({"content": r.text}).data).encode()[:-40], length=9000),
)

# ---- errors that come with status 200

_simple(
    "error-object",
    "error",
    "upstream is overloaded",
    lambda r: _either(r, {"error": {"message": "upstream is overloaded", "code": 502}}),
)
_simple("error-text", "error", "model is not loaded", lambda r: _either(r, {"error": "model is not loaded"}))
_simple(
    "error-of-vllm",
    "error",
    "engine is dead",
    lambda r: _either(r, {"object": "error", "message": "engine is dead", "type": "InternalServerError", "code": 500}),
)
_simple("error-of-fastapi", "error", "worker timed out", lambda r: _either(r, {"detail": "worker timed out"}))
_simple(
    "error-of-anthropic",
    "error",
    "Overloaded",
    lambda r: _either(r, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}),
)
_simple(
    "error-in-a-choice",
    "error",
    "provider gave up",
    lambda r: r.whole(
        None, choices=[{"index": 0, "message": {"content": ""}, "error": {"code": 502, "message": "provider gave up"}}]
    ),
)
_simple(
    "error-in-the-middle",
    "error",
    "CUDA out of memory",
    lambda r: (
        Events([delta(content=r.half), {"error": {"message": "CUDA out of memory", "code": 500}}])
        if r.stream
        else _error("CUDA out of memory", 500)
    ),
)
_simple(
    "error-event",
    "error",
    "stream was closed",
    lambda r: (
        Events([delta(content=r.half), b'event: error\ndata: {"error": {"message": "stream was closed"}}\n\n'])
        if r.stream
        else _error("stream was closed", 500)
    ),
)
_simple(
    "html-of-a-proxy",
    "error",
    "answered with HTML.*OPENAI_BASE_URL",
    lambda r: Body(b"<!DOCTYPE html><html><body>Welcome to nginx!</body></html>", kind="text/html"),
)
_simple("html-called-json", "error", "answered with HTML", lambda r: Body(b"<html>Sign in</html>"))
_simple("plain-words", "error", "not JSON.*Hello", lambda r: Body(b"Hello, this is not the API", kind="text/plain"))
_simple("empty-body", "error", "an empty body", lambda r: Body(b""))
_simple("half-a-json", "error", "not JSON", lambda r: Body(b'{"id": "x", "choices": [{"index": 0, "mess'))
_simple("json-list", "error", "no object", lambda r: Body([1, 2]))
_simple("json-very-deep", "error", "not JSON", lambda r: Body(b"[" * 100_000))
_simple("choices-an-object", "error", "'choices' that is no list", lambda r: r.whole(None, choices={"0": {}}))
_simple("choice-null", "error", "a choice that is no object", lambda r: r.whole(None, choices=[None]))
_simple("content-a-number", "error", "neither text nor parts", lambda r: r.whole({"content": 140}))
_simple("event-not-json", "error", "not JSON", lambda r: Events([b"data: oops\n\n"]) if r.stream else Body(b"oops"))

# ---- characters

_simple("emoji-in-two-chunks", "right", "", lambda r: _split_emoji(r, "utf-16-le"))
_simple("emoji-in-byte-chunks", "right", "", lambda r: _split_emoji(r, "utf-8"))
_simple("half-a-character", "told", "characters of the reply were broken", lambda r: r.reply(f"{r.text} \ud83d."))
_simple(
    "half-a-character-at-the-end", "told", "characters of the reply were broken", lambda r: r.reply(f"{r.text} \ud83d")
)
_simple(
    "another-encoding",
    "error",
    "not UTF-8",
    lambda r: (
        Events([_raw("Grüße aus Köln".encode("latin-1")), delta(finish="stop")])
        if r.stream
        else Body(json.dumps(r.whole({"content": "GrXe aus Köln"}).data).encode().replace(b"X", b"\xfc\xdf"))
    ),
)

# ---- HTTP

_simple(
    "no-key", "error", "refused the key", lambda r: _error("Incorrect API key provided", 401, code="invalid_api_key")
)
_simple("forbidden", "error", "refused the key", lambda r: _error("country not supported", 403))
_simple("unknown-model", "error", "does not know this model or address", lambda r: _error("no such model", 404))
_simple(
    "no-quota",
    "error",
    "no quota left",
    lambda r: _error("You exceeded your current quota", 429, type="insufficient_quota", code="insufficient_quota"),
    retries=3,
)
_simple("payment-required", "error", "no quota left", lambda r: _error("Insufficient credits", 402), retries=3)
_simple(
    "busy-for-a-day",
    "error",
    "asks to wait 24 hours",
    lambda r: _error("daily limit", 429, {"Retry-After": "86400"}, code="rate_limit_exceeded"),
    retries=3,
)
_simple("always-busy", "error", "429", lambda r: _error("slow down", 429, {"Retry-After": "0"}), retries=2)
_simple("always-failing", "error", "500", lambda r: _error("internal", 500))
_simple(
    "html-502",
    "error",
    "502.*Bad Gateway",
    lambda r: Body(b"<html><h1>502 Bad Gateway</h1></html>", 502, kind="text/html"),
)
_simple("redirected", "error", "a redirect", lambda r: Body(b"", 301, {"Location": "https://example.org/v1"}))
_simple(
    "prompt-too-long",
    "error",
    "longer than the model's window",
    lambda r: _error("This model's maximum context length is 2048 tokens.", 400, code="context_length_exceeded"),
)
_simple(
    "prompt-too-long-of-llama-server",
    "error",
    "longer than the model's window",
    lambda r: _error("the request exceeds the available context size", 400, type="exceed_context_size_error"),
)
_simple(
    "error-list-of-google",
    "error",
    "API key not valid",
    lambda r: Body([{"error": {"code": 400, "message": "API key not valid.", "status": "INVALID_ARGUMENT"}}], 400),
)

# ---- right after some retries

_simple(
    "busy-twice",
    "right",
    "",
    lambda r: _error("slow down", 429, {"Retry-After": "0"}) if r.attempt <= 2 else r.reply(),
    retries=2,
)
_simple(
    "busy-until-a-date",
    "right",
    "",
    _once(lambda r: _error("slow down", 429, {"Retry-After": formatdate(time.time() - 1, usegmt=True)})),
    retries=1,
)
_simple(
    "busy-in-milliseconds", "right", "", _once(lambda r: _error("slow down", 429, {"retry-after-ms": "5"})), retries=1
)
_simple(
    "busy-in-googles-words",
    "right",
    "",
    _once(
        lambda r: Body(
            [
                {
                    "error": {
                        "code": 429,
                        "status": "RESOURCE_EXHAUSTED",
                        "message": "You exceeded your current quota, please check your plan.",
                        "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "0s"}],
                    }
                }
            ],
            429,
        )
    ),
    retries=1,
)
_simple("busy-in-azures-words", "right", "", _once(lambda r: _error("Please retry after 0 seconds.", 429)), retries=1)
_simple("loading-once", "right", "", _once(lambda r: _error("Loading model", 503, {"Retry-After": "0"})), retries=1)
_simple("overloaded-once", "right", "", _once(lambda r: _error("Overloaded", 529, {"Retry-After": "0"})), retries=1)
_simple("html-once", "right", "", _once(lambda r: Body(b"<html>restarting</html>", kind="text/html")), retries=1)
_simple(
    "error-object-once",
    "right",
    "",
    _once(lambda r: _either(r, {"error": {"message": "busy", "code": 503}})),
    retries=1,
)
_simple("choices-null-once", "right", "", _once(lambda r: r.whole(None, choices=None)), retries=1)
_simple("closes-once", "right", "", _once(lambda r: Lost()), retries=1)
_simple(
    "cut-before-a-word-once",
    "right",
    "",
    _once(lambda r: Events([delta(content="")], done=False, end="close") if r.stream else Body(b"", length=99)),
    retries=1,
)

# ---- depends on what was sent


def _refusing(
    *names: str, message: str = "Unsupported parameter: '{}' is not supported with this model.", **fields: Any
) -> Any:
    def respond(r: Request) -> Response:
        for name in names:
            if name in r.body:
                return _error(message.format(name), 400, type="invalid_request_error", param=name, **fields)
        return r.reply()

    return respond


def _silently(name: str, message: str, status: int = 400) -> Any:
    return lambda r: _error(message, status) if name in r.body else r.reply()


_simple(
    "refuses-temperature",
    "error",
    "temperature: null",
    _refusing("temperature", code="unsupported_value"),
    kind="request",
)
_simple("refuses-max-tokens", "error", "max_tokens_field", _refusing("max_tokens"), kind="request")
_simple(
    "refuses-max-completion-tokens",
    "error",
    "max_tokens_field",
    _silently("max_completion_tokens", "extra fields not permitted: max_completion_tokens"),
    kind="request",
)
_simple(
    "refuses-stream-options",
    "error",
    "stream_options: false",
    _silently("stream_options", "unknown field stream_options"),
    kind="request",
)
_simple(
    "refuses-seed",
    "error",
    "seed: null",
    _silently("seed", "[{'type': 'extra_forbidden', 'loc': ('body', 'seed')}]: Extra inputs are not permitted", 422),
    kind="request",
)
_simple("refuses-stop", "error", r"stop: \[\]", _refusing("stop"), kind="request")
_simple("refuses-reasoning-effort", "error", "reasoning_effort: null", _refusing("reasoning_effort"), kind="request")
_simple(
    "refuses-extra-body",
    "error",
    r"extra_body\.top_k",
    _refusing("top_k", message="Unrecognized request argument supplied: {}"),
    kind="request",
)
_simple(
    "refuses-schema",
    "error",
    "constrain: false",
    _silently("response_format", "response_format json_schema is not supported"),
    kind="request",
)
_simple(
    "refuses-tools",
    "error",
    "calls no tools",
    _silently("tools", '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'),
    kind="request",
)
_simple(
    "refuses-system-role",
    "error",
    "no system message",
    lambda r: (
        _error("System role not supported", 400)
        if any(one["role"] == "system" for one in r.body["messages"])
        else r.reply()
    ),
    kind="request",
)
_simple("needs-reasoning-back", "right", "", lambda r: _needs_reasoning(r), kind="call")

# ---- calls of the tool calculator

_SUM = '{"expression": "140 * 6"}'


def _needs_reasoning(r: Request) -> Response:
    if r.results:
        last = [one for one in r.body["messages"] if one["role"] == "assistant"][-1]
        if not last.get("reasoning_content"):
            return _error("The `reasoning_content` in the thinking mode must be passed back to the API.", 400)
    return r.calls(call("calculator", _SUM), reasoning_content="SECRET: I multiply.")


def _calling(name: str, outcome: Outcome, says: str, *calls: Any, **more: Any) -> None:
    _simple(name, outcome, says, lambda r: r.calls(*calls, **more), kind="call")


_calling("call", "right", "", call("calculator", _SUM))
_calling("call-with-words", "right", "", call("calculator", _SUM), text="I multiply first.")
_calling("call-ending-in-stop", "right", "", call("calculator", _SUM), finish="stop")
_calling("call-with-an-object", "right", "", call("calculator", {"expression": "140 * 6"}))
_calling("call-encoded-twice", "right", "", call("calculator", json.dumps(_SUM)))
_calling("call-without-id", "right", "", call("calculator", _SUM, id=None))
_calling("call-with-empty-id", "right", "", call("calculator", _SUM, id=""))
_calling(
    "calls-with-one-id",
    "right",
    "",
    call("calculator", _SUM, id="same"),
    call("calculator", '{"expression": "12 * 6"}', 1, id="same"),
)
_calling(
    "calls-with-one-index",
    "right",
    "",
    call("calculator", _SUM, id="a"),
    call("calculator", '{"expression": "12 * 6"}', id="b"),
)
_calling(
    "calls-without-index",
    "right",
    "",
    *(
        {key: value for key, value in one.items() if key != "index"}
        for one in (call("calculator", _SUM, id="a"), call("calculator", '{"expression": "12 * 6"}', id="b"))
    ),
)
_calling("call-with-template-tokens", "right", "", call("calculator<|channel|>commentary", _SUM))
_calling("call-after-thoughts", "right", "", call("calculator", _SUM), text="<think>SECRET</think>")
_calling("call-with-a-list", "told", "a list, not a JSON object", call("calculator", '["140 * 6"]'))
_calling("call-with-a-number", "told", "a number, not a JSON object", call("calculator", "840"))
_calling("call-with-a-text", "told", "not JSON", call("calculator", '"140 * 6"'))
_calling("call-with-true", "told", "true or false, not a JSON object", call("calculator", "true"))
_calling("call-with-nan", "told", "NaN is not JSON", call("calculator", '{"expression": NaN}'))
_calling("call-with-half-a-json", "told", "not JSON", call("calculator", '{"expression": "140 *'))
_calling("call-cut-off", "told", "not JSON|cut off", call("calculator", '{"expression": "140 *'), finish="length")
_calling(
    "call-cut-off-but-closed",
    "told",
    "cut off at max_tokens",
    call("calculator", '{"expression": "140"}'),
    finish="length",
)
_calling("call-with-another-key", "told", "do not fit", call("calculator", '{"expr": "140 * 6"}'))
_calling("call-of-nothing", "told", "names no tool", call(None, _SUM))
_calling("call-of-the-empty-name", "told", "names no tool", call("", _SUM))
_calling("call-of-an-unknown-tool", "told", "no tool", call("get_weather", '{"city": "Paris"}'))
_simple(
    "call-of-old-functions",
    "right",
    "",
    lambda r: (
        r.reply()
        if r.results
        else r.whole({"content": None, "function_call": {"name": "calculator", "arguments": _SUM}}, "function_call")
    ),
    kind="call",
)
_simple(
    "call-in-pieces",
    "right",
    "",
    lambda r: (
        r.calls(call("calculator", _SUM))
        if r.results or not r.stream
        else Events(
            [
                delta(tool_calls=[call("calculator", "")]),
                *(
                    delta(tool_calls=[{"index": 0, "id": None, "function": {"name": None, "arguments": one}}])
                    for one in _thirds(_SUM)
                ),
                delta(finish="tool_calls"),
            ]
        )
    ),
    kind="call",
)
for _name, _text in {
    "call-in-tags": '<tool_call>\n{"name": "calculator", "arguments": {"expression": "140 * 6"}}\n</tool_call>',
    "call-in-function-tags": '<function=calculator>{"expression": "140 * 6"}</function>',
    "call-in-parameter-tags": "<tool_call>\n<function=calculator>\n<parameter=expression>\n140 * 6\n</parameter>\n"
    "</function>\n</tool_call>",
    "call-in-mistrals-words": '[TOOL_CALLS][{"name": "calculator", "arguments": {"expression": "140 * 6"}}]',
    "call-in-llamas-words": '<|python_tag|>{"name": "calculator", "parameters": {"expression": "140 * 6"}}',
    "call-as-bare-json": '{"name": "calculator", "arguments": {"expression": "140 * 6"}}',
    "call-as-fenced-json": '```json\n{"name": "calculator", "arguments": {"expression": "140 * 6"}}\n```',
    "call-in-tags-after-thoughts": "<think>SECRET</think>\n"
    '<tool_call>{"name": "calculator", "arguments": {"expression": "140 * 6"}}</tool_call>',
}.items():
    _simple(_name, "right", "", lambda r, text=_text: r.reply() if r.results else r.reply(text), kind="call")  # type: ignore[misc]


def _either(r: Request, payload: dict[str, Any]) -> Response:
    return Events([payload], done=False) if r.stream else Body(payload)


def _thirds(text: str) -> list[str]:
    size = max(1, -(-len(text) // 3))
    return [text[n : n + size] for n in range(0, len(text), size)]


def _bytewise(data: bytes) -> list[bytes]:
    return [data[n : n + 5] for n in range(0, len(data), 5)]


def _raw(content: bytes) -> bytes:
    """An event whose content holds these bytes as they are."""
    before, _, after = json.dumps(delta(content="@@")).partition("@@")
    return b"data: " + before.encode() + content + after.encode() + b"\n\n"


def _split_emoji(r: Request, encoding: str) -> Response:
    """A stream that breaks off in the middle of the text's first character outside the basic plane."""
    place = next((n for n, one in enumerate(r.text) if ord(one) > 0xFFFF), None)
    if place is None or not r.stream:
        return r.reply()
    before, emoji, after = r.text[:place], r.text[place], r.text[place + 1 :]
    if encoding == "utf-8":
        head, tail = (json.dumps(one, ensure_ascii=False)[1:-1].encode() for one in (before, after))
        pieces = (_raw(head + emoji.encode()[:2]), _raw(emoji.encode()[2:] + tail))
        return r.events(*pieces, delta(finish="stop"))
    units = emoji.encode("utf-16-le")
    high, low = (units[n : n + 2].decode("utf-16-le", "surrogatepass") for n in (0, 2))
    return r.events(delta(content=before + high), delta(content=low + after), delta(finish="stop"))
