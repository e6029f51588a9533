"""Calls of a step that asks many times: counted, not shown as they come, each with a seed of its own."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from llmkit import prompts
from llmkit.errors import EmptyReply, LlmkitError, ReplyError
from llmkit.models.ask import Requirement, ask_model, usage_of
from llmkit.models.chat import ChatModelSpec
from llmkit.pipeline.steps.answering.answer import read_reply
from llmkit.pipeline.steps.answering.prompt_passages import numbered
from llmkit.protocols import Context, Verifier
from llmkit.refine.loop import Limits, Spending
from llmkit.replies.reply import Reply
from llmkit.types import Answer, Event, Message, State, Verdict


class Asking:
    """The calls one step makes for one question."""

    def __init__(
        self, ctx: Context, limits: Limits, *, temperature: float | None, seed: int | None, most: int | None = None
    ) -> None:
        self.spent = Spending(limits)
        self._ctx, self._temperature, self._seed, self._most = ctx, temperature, seed, most
        self._prompts: dict[str, str] = {}
        self._models: set[str] = set()
        self._guessed = self._cut = 0
        self.failed: ReplyError | None = None
        """Why the last reply that could not be used was none."""

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
        """One call: the prompt with those of `values` that it has variables for, earlier turns before the question.

        A sampled one is made with the step's temperature, length and a seed of its own, others as the model is set;
        `options` go to the model as they are.

        Raises:
            ReplyError: there is no reply, or it was cut off and `require` is ``whole``.
            ModelError: the model failed.
        """
        prompt = self._ctx.prompt(ref)
        self._prompts[prompt.ref] = prompt.digest
        messages = prompt.render({name: values[name] for name in prompt.variables})
        head = [message for message in messages if message.role == "system"]
        turns = [*head, *history, *(message for message in messages if message.role != "system")]
        settings = {**(options or {})}
        if sampled and self._most is not None:
            settings["max_tokens"] = self._most
        if sampled and self._temperature is not None:
            settings["temperature"] = self._temperature
            if self._seed is not None:
                settings["seed"] = self._seed + self.spent.usage.calls
        self._models.add(spec.model if spec else "the pipeline's model")
        try:
            reply = ask_model(
                self._ctx.model(spec),
                turns,
                require=require,
                # nothing is shown, but a listener that has gone stops the call
                on_token=lambda _: self._ctx.emit(Event("token")),
                **settings,
            )
        except ReplyError as error:
            if isinstance(error.reply, Reply):
                self._count(error.reply, turns)
            raise
        self._count(reply, turns)
        return reply.text

    def try_ask(
        self,
        spec: ChatModelSpec | None,
        ref: str,
        values: Mapping[str, str],
        history: Sequence[Message] = (),
        **options: Any,
    ) -> str:
        """:meth:`ask`, where a reply that cannot be used is an empty text, and is told.

        Raises:
            ModelError: the model failed.
        """
        try:
            return self.ask(spec, ref, values, history, **options)
        except ReplyError as error:
            self.failed = error
            self._ctx.note(str(error))
            return ""

    def _count(self, reply: Reply, messages: Sequence[Message]) -> None:
        self._guessed += not reply.counted  # a budget must hold where nobody counts
        self._cut += reply.finish_reason == "length"
        self.spent.add(usage_of(reply, messages))

    def close(self, **detail: object) -> None:
        """Put what was spent, and `detail`, into the step's record."""
        if self._guessed:
            self._ctx.note(f"the model told no usage for {self._guessed} calls: their tokens are estimated from bytes")
        if self._cut:
            self._ctx.note(f"{self._cut} replies were cut off at the model's max_tokens")
        if len(self._models) > 1:  # no one price holds for the tokens of several
            self._ctx.record(model=", ".join(sorted(self._models)))
        self._ctx.record(usage=self.spent.usage, prompts=self._prompts, **detail)


def verify(verifiers: Sequence[Verifier], draft: str, state: State) -> tuple[tuple[str, Verdict], ...]:
    """Every verifier's verdict on a draft."""
    return tuple((verifier.type, verifier.verify(draft, state)) for verifier in verifiers)


def known_values(state: State, **more: str) -> dict[str, str]:
    """What a prompt of a step may name: the question, its inputs as text, the passages, and what the step adds."""
    inputs = {
        name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for name, value in state.inputs.items()
    }
    return {**inputs, "question": state.question, "passages": numbered(state.hits), **more}


def with_some(ref: str, needed: Iterable[str], allowed: Iterable[str]) -> str:
    """The reference itself, for a field that holds one: the prompt has the variables it needs and none that is unknown.

    Raises:
        ValueError: it is not there, or has other variables; pydantic tells it with the field's place.
    """
    try:
        prompt = prompts.load(ref)
    except LlmkitError as error:
        raise ValueError(str(error)) from error
    missing, strange = set(needed) - set(prompt.variables), set(prompt.variables) - set(needed) - set(allowed)
    if missing or strange:
        raise ValueError(
            f"prompt {ref} has the variables {sorted(prompt.variables)}; it needs {', '.join(sorted(needed))} and may "
            f"have {', '.join(sorted(allowed))}"
        )
    return ref


def answered(state: State, text: str, failed: ReplyError | None = None) -> Answer:
    """A draft as the answer of a state, read as the step `answer` reads its model's reply.

    Raises:
        ReplyError: there is no draft; `failed` says why there is none.
    """
    if not text.strip():
        raise failed or EmptyReply("the model gave no draft that can be used")
    return read_reply(text, state.hits) if state.hits else Answer(text)
