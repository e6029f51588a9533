"""GGUF models on llama.cpp, in this process (xllamacpp).

The chat template is the file's own, run by llama.cpp's Jinja subset, which knows no Python. The library always opens
its HTTP server as well: it is bound to a socket file in a private folder where the system has those, and asks for a
random key everywhere.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from llmkit.errors import ModelError, TooLong, unknown
from llmkit.models.adapter import PROBE, PROBE_LEAST, Adapter
from llmkit.models.engine import Done, Request, Tell, Turn

_LOADED = ("_server", "_folder", "_key", "_adapters")


class LlamaCppEngine:
    """One model, one slot, with the prompt before it kept for the next."""

    knows_schemas: ClassVar[bool] = True

    def __init__(
        self, path: Path, *, context: int, threads: int, adapters: Mapping[str, Adapter] | None = None
    ) -> None:
        self._path, self._context, self._threads = path, context, threads
        self._adapters: list[str] = []
        if adapters:
            self._server: Any = None
            self.with_adapters(adapters)
        else:
            self._server = self._load({})

    def _load(self, adapters: Mapping[str, Path]) -> Any:
        import xllamacpp

        params = xllamacpp.CommonParams()
        params.model.path = str(self._path)
        params.n_ctx = self._context
        params.n_parallel = 1
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = self._threads
        params.verbosity = -1
        params.use_jinja = True
        self._key = secrets.token_hex(16)
        params.api_keys = [self._key]
        params.lora_adapters = [_lora(path) for path in adapters.values()]
        self._folder = tempfile.TemporaryDirectory(prefix="llmkit-")
        if os.name == "posix":
            params.hostnames = [str(Path(self._folder.name) / "llama.sock")]
        try:
            server = xllamacpp.Server(params)
            server.handle_completions({"prompt": [0], "n_predict": 1})  # one closed before its first call never ends
            return server
        except RuntimeError as error:
            what = f" with {', '.join(map(str, adapters.values()))}" if adapters else ""
            raise ModelError(
                f"llama.cpp cannot load {self._path}{what} ({error}): is the file whole, and of a kind it knows?"
            ) from error

    def prompt(self, turns: Sequence[Turn]) -> tuple[str, list[int]]:
        """The prompt as llama.cpp writes it by the chat template of the file, and its tokens."""
        import httpx

        address = self._server.listening_address
        socket = address.removeprefix("unix://") if address.startswith("unix://") else None
        head = {"Authorization": f"Bearer {self._key}"}
        transport = httpx.HTTPTransport(uds=socket)
        with httpx.Client(transport=transport, headers=head, timeout=60) as client:

            def ask(path: str, body: dict[str, Any]) -> dict[str, Any]:
                answer = client.post(f"{'http://llama' if socket else address}{path}", json=body)
                told: dict[str, Any] = answer.json()
                if answer.status_code != httpx.codes.OK:
                    raise _error(told.get("error", told))
                return told

            messages = [{"role": role, "content": text} for role, text in turns]
            text = ask("/apply-template", {"messages": messages})["prompt"]
            ids = ask("/tokenize", {"content": text, "add_special": True, "parse_special": True})["tokens"]
        return str(text), [int(one) for one in ids]

    def with_adapters(self, adapters: Mapping[str, Adapter]) -> None:
        """Have these adapters, written as GGUF into the cache; see :class:`llmkit.models.engine.Engine`."""
        from llmkit.models.gguf_adapter import as_gguf

        self.with_files({name: as_gguf(adapter) for name, adapter in adapters.items()})

    def with_files(self, adapters: Mapping[str, Path]) -> None:
        """Load the model anew beside adapters: llama.cpp takes them when it starts, and a scale of each with a call.

        Raises:
            ModelError: one cannot be read, or changes nothing; what was loaded before stays.
        """
        kept = {name: value for name, value in vars(self).items() if name in _LOADED}
        try:
            self._server, self._adapters = self._load(adapters), list(adapters)
            bare = self.first_token(PROBE)
            for name, path in adapters.items():
                told = self.first_token(PROBE, name)
                if max((abs(told[t] - bare[t]) for t in told.keys() & bare.keys()), default=1.0) < PROBE_LEAST:
                    raise ModelError(f"the adapter {name} ({path}) changes nothing: it answers the probe as its base")
        except ModelError:
            vars(self).update(kept)
            raise

    def first_token(self, turns: Sequence[Turn], adapter: str | None = None) -> dict[int, float]:
        """Log probabilities of the hundred most likely first tokens of an answer."""
        body = self._body(Request(turns, max_tokens=1, temperature=0.0, adapter=adapter))
        answer = self._server.handle_chat_completions({**body, "stream": False, "logprobs": True, "top_logprobs": 100})
        if "error" in answer:
            raise _error(answer["error"])
        top = answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
        return {int(one["id"]): float(one["logprob"]) for one in top}

    def _body(self, request: Request) -> dict[str, Any]:
        """The call, every loaded adapter switched on or off."""
        if request.adapter is not None and request.adapter not in self._adapters:
            raise ModelError(unknown("adapter", request.adapter, self._adapters))
        scales = [{"id": n, "scale": float(name == request.adapter)} for n, name in enumerate(self._adapters)]
        return {**_body(request), **({"lora": scales} if scales else {})}

    def generate(self, request: Request, tell: Tell) -> Done:
        """Generate; see :class:`llmkit.models.engine.Engine`."""
        ended: dict[str, Any] = {"reason": "cancelled", "told": 0}

        def hear(piece: dict[str, Any]) -> bool:
            if "error" in piece:
                ended["error"] = piece["error"]
                return True
            for choice in piece.get("choices", ()):
                ended["reason"] = choice.get("finish_reason") or ended["reason"]
                text = choice.get("delta", {}).get("content")
                if text:
                    ended["told"] += 1
                    if tell(text):
                        ended["reason"] = "cancelled"
                        return True
            ended["usage"] = piece.get("usage") or ended.get("usage")
            return False

        self._server.handle_chat_completions(self._body(request), hear)
        if "error" in ended:
            raise _error(ended["error"])
        usage = ended.get("usage") or {}
        return Done(
            ended["reason"],
            usage.get("prompt_tokens", 0),
            usage.get("completion_tokens", ended["told"]),
            usage.get("prompt_tokens_details", {}).get("cached_tokens", 0),
        )

    def count(self, turns: Sequence[Turn]) -> int:
        """Tokens of the prompt; what was read for it is kept for the call that follows."""
        body = self._body(Request(turns, max_tokens=1, temperature=0.0))
        answer = self._server.handle_chat_completions({**body, "stream": False})
        if "error" in answer:
            tokens = answer["error"].get("n_prompt_tokens")
            if tokens is None:
                raise _error(answer["error"])
            return int(tokens)
        return int(answer["usage"]["prompt_tokens"])


def _lora(path: Path) -> Any:
    import xllamacpp

    lora = xllamacpp.CommonAdapterLoraInfo()
    lora.path, lora.scale = str(path), 1.0
    return lora


def _body(request: Request) -> dict[str, Any]:
    body: dict[str, Any] = {
        "messages": [{"role": role, "content": text} for role, text in request.turns],
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
        "stream": True,
        "stream_options": {"include_usage": True},
        "cache_prompt": True,
    }
    if request.seed is not None:
        body["seed"] = request.seed
    if request.stop:
        body["stop"] = list(request.stop)
    if request.schema is not None:
        body["response_format"] = {"type": "json_schema", "json_schema": {"schema": request.schema}}
    if request.grammar is not None:
        body["grammar"] = request.grammar
    return body


def _error(error: dict[str, Any]) -> ModelError:
    if error.get("type") == "exceed_context_size_error":
        return TooLong(
            f"the prompt has {error['n_prompt_tokens']} tokens, the model's context is {error['n_ctx']}: shorten it, "
            "or give a larger `context` if the model was trained for one"
        )
    return ModelError(f"llama.cpp: {error.get('message', error)}")
