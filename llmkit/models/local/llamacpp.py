"""GGUF models on llama.cpp, in this process (xllamacpp).

The chat template is the file's own, run by llama.cpp's Jinja subset, which knows no Python. The library always opens
its HTTP server as well: it is bound to a socket file in a private folder where the system has those, and asks for a
random key everywhere.
"""

from __future__ import annotations

import os
import secrets
import ssl
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from llmkit.errors import ModelError, TooLong, unknown
from llmkit.extras import optional
from llmkit.models.local.adapter import PROBE, PROBE_LEAST, Adapter
from llmkit.models.local.engine import Crashed, Done, Request, Tell, Turn
from llmkit.models.local.gguf import bytes_per_token

_CHUNK = 128
"""Tokens of prompts that are read in one step beside others: running answers wait that long for their next token."""
_REMEMBERED = 512
"""MiB of prompts that were read and have left their slot."""


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A running server, the key it asks for and the folder its socket is in, which goes with it."""

    server: Any
    key: str
    folder: tempfile.TemporaryDirectory[str]
    adapters: tuple[str, ...]


class LlamaCppEngine:
    """One model with slots: calls that share each step, every one with the prompt before it kept for the next.

    llama.cpp does the batching. A prompt goes to the free slot that knows most of it, and is read in chunks between
    the steps of the others. Each slot has the whole `context` to itself.
    """

    knows_schemas: ClassVar[bool] = True

    def __init__(
        self,
        path: Path,
        *,
        context: int,
        threads: int,
        adapters: Mapping[str, Adapter] | None = None,
        slots: int = 1,
    ) -> None:
        self._path, self._context, self._threads, self.slots = path, context, threads, slots
        if adapters:
            self._loaded: _Loaded | None = None
            self.with_adapters(adapters)
        else:
            self._loaded = self._load({})

    @property
    def _server(self) -> Any:
        assert self._loaded is not None
        return self._loaded.server

    def _load(self, adapters: Mapping[str, Path]) -> _Loaded:
        with optional():
            import xllamacpp

        params = xllamacpp.CommonParams()
        params.model.path = str(self._path)
        params.n_ctx = self._context * self.slots
        params.n_parallel = self.slots
        params.kv_unified = False  # one long prompt cannot take the room of another
        params.n_batch = params.n_ubatch = _CHUNK if self.slots > 1 else 512
        # llama.cpp forgets which adapter a prompt was read with once it has left its slot (ggml-org/llama.cpp#26207)
        params.cache_ram_mib = 0 if adapters else _REMEMBERED
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = self._threads
        params.verbosity = -1
        params.use_jinja = True
        key = secrets.token_hex(16)
        params.api_keys = [key]
        params.lora_adapters = [_lora(path) for path in adapters.values()]
        folder = tempfile.TemporaryDirectory(prefix="llmkit-")
        params.slot_save_path = folder.name + os.sep
        if os.name == "posix":
            params.hostnames = [str(Path(folder.name) / "llama.sock")]
        try:
            server = xllamacpp.Server(params)
            server.handle_completions({"prompt": [0], "n_predict": 1})  # one closed before its first call never ends
            return _Loaded(server, key, folder, tuple(adapters))
        except RuntimeError as error:
            what = f" with {', '.join(map(str, adapters.values()))}" if adapters else ""
            room = ""
            if self.slots > 1:
                mib = (bytes_per_token(self._path) or 0) * self._context * self.slots >> 20
                room = f" Is there room for {self.slots} slots of {self._context} tokens ({mib} MiB)?"
            raise ModelError(
                f"llama.cpp cannot load {self._path}{what} ({error}): is the file whole, and of a kind it knows?{room}"
            ) from error

    def prompt(self, turns: Sequence[Turn]) -> tuple[str, list[int]]:
        """The prompt as llama.cpp writes it by the chat template of the file, and its tokens."""
        with self._http() as ask:
            messages = [{"role": role, "content": text} for role, text in turns]
            text = ask("/apply-template", {"messages": messages})["prompt"]
            ids = ask("/tokenize", {"content": text, "add_special": True, "parse_special": True})["tokens"]
        return str(text), [int(one) for one in ids]

    def share(self, turns: Sequence[Turn]) -> None:
        """Read the beginning of prompts to come once, for every slot; nothing may run meanwhile.

        llama.cpp copies the state of a slot by way of a file only; it lies in the private folder until it is copied.
        With adapters nothing is shared: a slot does not know which of them such a state was read with.
        """
        assert self._loaded is not None
        if self._loaded.adapters:
            return
        body = {**self._body(Request(turns, max_tokens=1, temperature=0.0)), "stream": False, "id_slot": 0}
        answer = self._server.handle_chat_completions(body)
        if "error" in answer:
            raise _error(answer["error"])
        state = Path(self._loaded.folder.name) / "shared"
        try:
            with self._http() as ask:
                ask("/slots/0?action=save", {"filename": state.name})
                for slot in range(1, self.slots):
                    ask(f"/slots/{slot}?action=restore", {"filename": state.name})
        finally:
            state.unlink(missing_ok=True)

    @contextmanager
    def _http(self) -> Iterator[Callable[[str, dict[str, Any]], dict[str, Any]]]:
        """What the library offers over its socket only."""
        import httpx

        loaded = self._loaded  # kept until the answer is there
        assert loaded is not None
        address = loaded.server.listening_address
        socket = address.removeprefix("unix://") if address.startswith("unix://") else None
        head = {"Authorization": f"Bearer {loaded.key}"}
        bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # not used; the default one reads every certificate first
        transport = httpx.HTTPTransport(uds=socket, verify=bare)
        with httpx.Client(transport=transport, headers=head, timeout=60) as client:

            def ask(path: str, body: dict[str, Any]) -> dict[str, Any]:
                answer = client.post(f"{'http://llama' if socket else address}{path}", json=body)
                told: dict[str, Any] = answer.json()
                if answer.status_code != httpx.codes.OK:
                    raise _error(told.get("error", told))
                return told

            yield ask

    def with_adapters(self, adapters: Mapping[str, Adapter]) -> None:
        """Have these adapters, written as GGUF into the cache; see :class:`llmkit.models.local.engine.Engine`."""
        from llmkit.models.local.gguf_adapter import as_gguf

        self.with_files({name: as_gguf(adapter) for name, adapter in adapters.items()})

    def with_files(self, adapters: Mapping[str, Path]) -> None:
        """Load the model anew beside adapters: llama.cpp takes them when it starts, and a scale of each with a call.

        Raises:
            ModelError: one cannot be read, or changes nothing; what was loaded before stays.
        """
        kept = self._loaded
        try:
            self._loaded = self._load(adapters)
            bare = self.first_token(PROBE)
            for name, path in adapters.items():
                told = self.first_token(PROBE, name)
                if max((abs(told[t] - bare[t]) for t in told.keys() & bare.keys()), default=1.0) < PROBE_LEAST:
                    raise ModelError(f"the adapter {name} ({path}) changes nothing: it answers the probe as its base")
        except ModelError:
            self._loaded = kept
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
        names = self._loaded.adapters if self._loaded else ()
        if request.adapter is not None and request.adapter not in names:
            raise ModelError(unknown("adapter", request.adapter, names))
        scales = [{"id": n, "scale": float(name == request.adapter)} for n, name in enumerate(names)]
        return {**_body(request), **({"lora": scales} if scales else {})}

    def generate(self, request: Request, tell: Tell) -> Done:
        """Generate; see :class:`llmkit.models.local.engine.Engine`."""
        ended: dict[str, Any] = {"reason": "cancelled", "told": 0}

        def hear(piece: dict[str, Any]) -> bool:
            if "error" in piece:
                ended["error"] = piece["error"]
                return True
            for choice in piece.get("choices", ()):
                ended["reason"] = choice.get("finish_reason") or ended["reason"]
                text = choice.get("delta", {}).get("content") or ""
                ended["told"] += bool(text)
                if tell(text):
                    ended["reason"] = "cancelled"
                    return True
            ended["usage"] = piece.get("usage") or ended.get("usage")
            return False

        try:
            self._server.handle_chat_completions(self._body(request), hear)
        except (RuntimeError, ValueError) as error:  # a schema it cannot read, a template that refuses these turns
            raise ModelError(f"llama.cpp refuses the call: {error}") from error
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
        """Tokens of the prompt."""
        return len(self.prompt(turns)[1])


def _lora(path: Path) -> Any:
    with optional():
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
        "return_progress": True,  # so that a call can be stopped while its prompt is read
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
    said = str(error.get("message", error))
    if error.get("type") == "server_error" and not said.startswith("got exception:"):  # that one is a single call's
        return Crashed(f"llama.cpp: {said}")
    return ModelError(f"llama.cpp: {said}")
