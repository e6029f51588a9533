"""GGUF models on llama.cpp, in this process (xllamacpp).

The chat template is the file's own, run by llama.cpp's Jinja subset, which knows no Python. The library always opens
its HTTP server as well: it is bound to a socket file in a private folder where the system has those, and asks for a
random key everywhere.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llmkit.errors import ModelError
from llmkit.models.engine import Done, Request, Tell, Turn


class LlamaCppEngine:
    """One model, one slot, with the prompt before it kept for the next."""

    def __init__(self, path: Path, *, context: int, threads: int) -> None:
        import xllamacpp

        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.n_ctx = context
        params.n_parallel = 1
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
        params.verbosity = -1
        params.use_jinja = True
        params.api_keys = [secrets.token_hex(16)]
        self._folder = tempfile.TemporaryDirectory(prefix="llmkit-")
        if os.name == "posix":
            params.hostnames = [str(Path(self._folder.name) / "llama.sock")]
        try:
            self._server = xllamacpp.Server(params)
        except RuntimeError as error:
            raise ModelError(
                f"llama.cpp cannot load {path} ({error}): is the file whole, and of a kind it knows?"
            ) from error

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

        self._server.handle_chat_completions(_body(request), hear)
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
        body = _body(Request(turns, max_tokens=1, temperature=0.0))
        answer = self._server.handle_chat_completions({**body, "stream": False})
        if "error" in answer:
            tokens = answer["error"].get("n_prompt_tokens")
            if tokens is None:
                raise _error(answer["error"])
            return int(tokens)
        return int(answer["usage"]["prompt_tokens"])


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
        return ModelError(
            f"the prompt has {error['n_prompt_tokens']} tokens, the model's context is {error['n_ctx']}: shorten it, "
            "or give a larger `context` if the model was trained for one"
        )
    return ModelError(f"llama.cpp: {error.get('message', error)}")
