"""How a step asks a chat model: as the answer that users watch, as one quiet call, or as one of many counted calls."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llmkit.errors import LlmkitError
from llmkit.models.chat import ChatModelSpec, translate
from llmkit.pipeline.steps.answering.prompt_passages import format_passages
from llmkit.protocols import Context
from llmkit.refine.loop import Limits, Spending
from llmkit.types import Event, Message, State, Usage

_EMPTY_REPLY = "the model answered with no text, which says nothing about the documents"


def stream_answer(model: Any, messages: Sequence[Message], ctx: Context) -> str:
    """Stream the answer of a step: tokens go to the listener, usage and a cut-off reply into the record.

    Returns:
        The whole text without surrounding white space, "" where the model sent none (a note says so).

    Raises:
        LlmkitError: the model failed.
    """

    def emit_token(piece: str) -> None:
        if piece:
            ctx.emit(Event("token", text=piece))

    reply = stream_reply(model, messages, emit_token)
    if reply is None:
        ctx.note(_EMPTY_REPLY)
        return ""
    counts = reply.usage_metadata or {}
    ctx.record(usage=Usage(counts.get("input_tokens", 0), counts.get("output_tokens", 0), 1))
    if reply.response_metadata.get("finish_reason") == "length":
        ctx.note("the answer was cut off at the model's max_tokens")
    text = str(reply.text).strip()
    if not text:
        ctx.note(_EMPTY_REPLY)
    return text


def stream_reply(model: Any, messages: Sequence[Message], on_piece: Callable[[str], None], **options: Any) -> Any:
    """Stream one reply and return it as one message, or None where the model sent nothing at all.

    Args:
        model: a LangChain chat model.
        messages: the conversation.
        on_piece: called with the text of each piece as it arrives.
        options: keyword arguments for the model, as in ``temperature=0``.

    Raises:
        LlmkitError: the model failed.
    """
    pieces: list[Any] = []
    try:
        for piece in model.stream([(message.role, message.content) for message in messages], **options):
            pieces.append(piece)
            on_piece(piece.text)
    except LlmkitError:
        raise
    except Exception as error:
        raise translate(error) from error
    if len(pieces) < 2:
        return pieces[0] if pieces else None
    return pieces[0] + pieces[1:]  # one sum: adding the pieces one by one copies the text again each time


def ask_quietly(model: Any, messages: Sequence[Message], ctx: Context) -> str:
    """Ask for something that is not the answer: no token reaches the listener, usage goes into the record.

    Raises:
        LlmkitError: the model failed.
    """
    try:
        reply = model.invoke([(message.role, message.content) for message in messages])
    except LlmkitError:
        raise
    except Exception as error:
        raise translate(error) from error
    counts = reply.usage_metadata or {}
    ctx.record(usage=Usage(counts.get("input_tokens", 0), counts.get("output_tokens", 0), 1))
    return str(reply.text).strip()


class ModelCalls:
    """The model calls that one step makes for one question: counted, quiet, each with its own seed."""

    def __init__(
        self,
        ctx: Context,
        limits: Limits,
        *,
        temperature: float | None,
        seed: int | None,
        max_reply_tokens: int | None = None,
    ) -> None:
        """Set what sampled calls use.

        Args:
            ctx: the running step's context.
            limits: budgets of the step; ``spending`` counts against them.
            temperature: of sampled calls; None: the model's own.
            seed: call n is made with seed + n; None: without a seed.
            max_reply_tokens: longest reply of a sampled call; None: the model's own limit.
        """
        self.spending = Spending(limits)
        self._ctx, self._temperature, self._seed, self._max_reply_tokens = ctx, temperature, seed, max_reply_tokens
        self._prompts: dict[str, str] = {}
        self._models: set[str] = set()
        self._estimated = self._cut_off = 0

    def ask(
        self,
        spec: ChatModelSpec | None,
        ref: str,
        values: Mapping[str, str],
        history: Sequence[Message] = (),
        *,
        sampled: bool = False,
        options: Mapping[str, Any] | None = None,
    ) -> str:
        """Make one call and return the reply's text.

        Args:
            spec: the chat model; None: the pipeline's.
            ref: the prompt.
            values: values for prompt variables; those that the prompt does not have are left out.
            history: earlier turns, put between the system text and the question.
            sampled: use the step's temperature, reply length and seed instead of the model's settings.
            options: further keyword arguments for the model.

        Raises:
            LlmkitError: the model failed.
        """
        prompt = self._ctx.prompt(ref)
        self._prompts[prompt.ref] = prompt.digest
        rendered = prompt.render({name: values[name] for name in prompt.variables})
        system = [message for message in rendered if message.role == "system"]
        messages = [*system, *history, *(message for message in rendered if message.role != "system")]
        return self._call(spec, messages, {**(options or {})}, sampled=sampled)

    def _call(
        self, spec: ChatModelSpec | None, messages: Sequence[Message], options: dict[str, Any], *, sampled: bool
    ) -> str:
        if sampled and self._max_reply_tokens is not None:
            options["max_tokens"] = self._max_reply_tokens
        if sampled and self._temperature is not None:
            options["temperature"] = self._temperature
            if self._seed is not None:
                options["seed"] = self._seed + self.spending.usage.calls
        self._models.add(spec.model if spec else "the pipeline's model")
        # an empty token shows nothing, but lets a listener that has gone stop the call
        reply = stream_reply(self._ctx.model(spec), messages, lambda _: self._ctx.emit(Event("token")), **options)
        text = "" if reply is None else str(reply.text).strip()
        counts = (reply.usage_metadata if reply is not None else None) or {}
        if not counts:  # a budget must hold even where the server reports no usage
            self._estimated += 1
            counts = {
                "input_tokens": sum(len(message.content.encode()) // 3 + 8 for message in messages),
                "output_tokens": len(text.encode()) // 3,
            }
        self._cut_off += reply is not None and reply.response_metadata.get("finish_reason") == "length"
        self.spending.add(Usage(counts.get("input_tokens", 0), counts.get("output_tokens", 0), 1))
        return text

    def write_record(self, **detail: object) -> None:
        """Write usage, prompts, models and `detail` into the step's record; call it once, after the last call."""
        if self._estimated:
            self._ctx.note(
                f"the model reported no usage for {self._estimated} calls: their tokens are estimated from bytes"
            )
        if self._cut_off:
            self._ctx.note(f"{self._cut_off} replies were cut off at the model's max_tokens")
        if len(self._models) > 1:  # no one price holds for the tokens of several models
            self._ctx.record(model=", ".join(sorted(self._models)))
        self._ctx.record(usage=self.spending.usage, prompts=self._prompts, **detail)


def prompt_values(state: State, **more: str) -> dict[str, str]:
    """Values of the variables that a step's prompt may have: the inputs as text, question, passages, and `more`."""
    inputs = {
        name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for name, value in state.inputs.items()
    }
    return {**inputs, "question": state.question, "passages": format_passages(state.hits), **more}
