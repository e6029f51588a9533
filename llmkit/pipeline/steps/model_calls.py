"""How a step asks a chat model: as the answer that users watch, as one quiet call, or as one of many counted calls."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from llmkit.errors import ReplyError
from llmkit.models.ask import Requirement, ask_model, usage_of
from llmkit.models.chat import ChatModelSpec
from llmkit.pipeline.steps.answering.prompt_passages import format_passages
from llmkit.protocols import Context
from llmkit.refine.loop import Limits, Spending
from llmkit.replies import Reply
from llmkit.types import Event, Message, State


def stream_answer(model: Any, messages: Sequence[Message], ctx: Context) -> Reply:
    """Stream the answer of a step: tokens go to the listener; usage and how the reply ended go into the record.

    A reply that was cut off is returned, and a note says so.

    Raises:
        ModelRefusal: the model refused; the message has its words.
        EmptyReply: there is no answer.
        ModelError: the model failed.
    """

    def emit_token(piece: str) -> None:
        if piece:
            ctx.emit(Event("token", text=piece))

    def emit_reasoning(piece: str) -> None:
        ctx.emit(Event("reasoning", text=piece))

    try:
        reply = ask_model(model, messages, on_token=emit_token, on_reasoning=emit_reasoning)
    except ReplyError as error:
        record_reply(error.reply, ctx)
        raise
    record_reply(reply, ctx)
    for warning in reply.warnings:
        ctx.note(warning)
    return reply


def ask_quietly(model: Any, messages: Sequence[Message], ctx: Context, *, require: Requirement = "whole") -> Reply:
    """Ask for something that is not the answer: no token reaches the listener, usage goes into the record.

    Raises:
        ReplyError: there is no text, or it was cut off and `require` is ``whole``.
        ModelError: the model failed.
    """
    try:
        reply = ask_model(model, messages, require=require)
    except ReplyError as error:
        if isinstance(error.reply, Reply):
            ctx.record(usage=error.reply.usage)
        raise
    ctx.record(usage=reply.usage)
    for note in reply.notes:
        ctx.note(note)
    return reply


def record_reply(reply: object, ctx: Context) -> None:
    """Write a reply's usage, its ending, its reasoning and its refusal into the record of the step."""
    if isinstance(reply, Reply):
        ctx.record(usage=reply.usage, **reply.row())


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
        self._noted: set[str] = set()
        self.failure: ReplyError | None = None
        """The error of the last reply that :meth:`try_ask` could not use."""

    def ask(
        self,
        spec: ChatModelSpec | None,
        ref: str,
        values: Mapping[str, str],
        history: Sequence[Message] = (),
        *,
        sampled: bool = False,
        require: Requirement = "whole",
        options: Mapping[str, Any] | None = None,
    ) -> str:
        """Make one call and return the reply's text.

        Args:
            spec: the chat model; None: the pipeline's.
            ref: the prompt.
            values: values for prompt variables; those that the prompt does not have are left out.
            history: earlier turns, put between the system text and the question.
            sampled: use the step's temperature, reply length and seed instead of the model's settings.
            require: ``whole``, or ``text`` where a reply that was cut off is of use.
            options: further keyword arguments for the model.

        Raises:
            ReplyError: there is no text, or it was cut off and `require` is ``whole``.
            LlmkitError: the model failed.
        """
        prompt = self._ctx.prompt(ref)
        self._prompts[prompt.ref] = prompt.digest
        rendered = prompt.render({name: values[name] for name in prompt.variables})
        system = [message for message in rendered if message.role == "system"]
        messages = [*system, *history, *(message for message in rendered if message.role != "system")]
        settings = {**(options or {})}
        if sampled and self._max_reply_tokens is not None:
            settings["max_tokens"] = self._max_reply_tokens
        if sampled and self._temperature is not None:
            settings["temperature"] = self._temperature
            if self._seed is not None:
                settings["seed"] = self._seed + self.spending.usage.calls
        self._models.add(spec.model if spec else "the pipeline's model")
        model = self._ctx.model(spec)

        def emit_nothing(_: str) -> None:
            self._ctx.emit(Event("token"))  # shows nothing, but lets a listener that has gone stop the call

        try:
            reply = ask_model(model, messages, require=require, on_token=emit_nothing, **settings)
        except ReplyError as error:
            if isinstance(error.reply, Reply):
                self._count(error.reply, messages)
            raise
        self._count(reply, messages)
        for note in reply.notes if reply.finish_reason == "length" else reply.warnings:  # lengths are counted
            if note not in self._noted:
                self._noted.add(note)
                self._ctx.note(note)
        return reply.text

    def try_ask(
        self,
        spec: ChatModelSpec | None,
        ref: str,
        values: Mapping[str, str],
        history: Sequence[Message] = (),
        **options: Any,
    ) -> str:
        """Make a call as :meth:`ask` does; a reply that cannot be used is an empty text, and a note says why.

        Raises:
            LlmkitError: the model failed.
        """
        try:
            return self.ask(spec, ref, values, history, **options)
        except ReplyError as error:
            self.failure = error
            self._ctx.note(str(error))
            return ""

    def _count(self, reply: Reply, messages: Sequence[Message]) -> None:
        self._estimated += not reply.counted  # a budget must hold even where the server reports no usage
        self._cut_off += reply.finish_reason == "length"
        self.spending.add(usage_of(reply, messages))

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
