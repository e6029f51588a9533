"""A model answers from numbered passages."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Self

from pydantic import Field, field_validator, model_validator

from llmkit import prompts
from llmkit.models.chat import ChatModelSpec
from llmkit.part import Part
from llmkit.pipeline.ask import stream_answer
from llmkit.pipeline.steps.answering.prompt_passages import NOT_FOUND, fit, numbered, refusal
from llmkit.protocols import Context
from llmkit.types import UNCHECKED, Answer, Citation, Hit, State

MARK = re.compile(r"\[(\d{1,3}(?:\s*,\s*\d{1,3})*)\]")


class AnswerStep(Part):
    """Asks the model and reads the ``[n]`` marks of its answer as citations, unchecked until ``ground``."""

    family: ClassVar[str] = "step"
    type: ClassVar[str] = "answer"
    reads: ClassVar[dict[str, prompts.Output]] = {"prompt": "cited"}
    needs: ClassVar[frozenset[str]] = frozenset({"question", "hits"})
    gives: ClassVar[frozenset[str]] = frozenset({"answer"})

    prompt: str = "answer@v1"
    """Prompt with the variables ``question`` and ``passages``."""
    examples: int | None = Field(default=None, ge=0)
    """How many of the prompt's worked examples the model is shown; none: all it has."""
    model: ChatModelSpec | None = None
    """Chat model of this step; the pipeline's where it names none."""
    passages: int = Field(default=5, ge=1)
    """How many of the hits the model is shown, at most."""

    @field_validator("prompt")
    @classmethod
    def _prompt_is_there(cls, value: str) -> str:
        return prompts.with_variables(value, ("passages", "question"))

    @model_validator(mode="after")
    def _examples_are_there(self) -> Self:
        prompts.has_examples(self.prompt, self.examples)
        return self

    def run(self, state: State, ctx: Context) -> State:
        """Fill ``state.answer`` and put the passages that were shown into ``state.hits``."""
        shown = state.hits[: self.passages]
        if not shown:
            ctx.note("no passages were found: the model was not asked")
            return state.replace(answer=Answer(NOT_FOUND, abstained=True))
        model = ctx.model(self.model)
        messages, kept = fit(
            model,
            ctx.prompt(self.prompt),
            {"question": state.question},
            shown,
            examples=self.examples,
            reserve=getattr(model, "max_tokens", None) or 512,
        )
        if kept < len(shown):
            dropped = [hit.chunk.id for hit in shown[kept:]]
            ctx.note(f"{len(dropped)} of {len(shown)} passages did not fit the model's window: {', '.join(dropped)}")
        shown = shown[:kept]
        ctx.record(passages=[hit.chunk.id for hit in shown], messages=[[m.role, m.content] for m in messages])
        reply = stream_answer(model, messages, ctx)
        ctx.record(raw=reply.text)
        answer = replace(read_reply(reply.text, shown), finish_reason=reply.finish_reason)
        return state.replace(hits=shown, answer=answer)

    def filled(self, state: State) -> dict[str, str]:
        """What the prompt's variables were filled with, read from the state a run left."""
        return {"question": state.question, "passages": numbered(state.hits)}


def read_reply(text: str, shown: Sequence[Hit]) -> Answer:
    """A model's reply to an answering prompt as an answer: its citations, or that it refuses."""
    refused = refusal(text)
    return Answer(refused, abstained=True) if refused else Answer(text, tuple(cited(text, shown)))


def cited(text: str, shown: Sequence[Hit]) -> list[Citation]:
    """The passages an answer cites, in order, each once; a number that no passage has is kept as unsupported."""
    citations = []
    numbers = [int(n) for mark in MARK.finditer(text) for n in mark.group(1).split(",")]
    for n in dict.fromkeys(numbers):
        if 1 <= n <= len(shown):
            citations.append(whole(n, shown[n - 1]))
        else:
            reason = f"there is no passage {n}: {len(shown)} were shown"
            citations.append(Citation(n, "", "", "", 0, 0, "", supported=False, reason=reason))
    return citations


def whole(n: int, hit: Hit, *, supported: bool = False, reason: str = UNCHECKED) -> Citation:
    """A citation of a whole passage."""
    chunk = hit.chunk
    return Citation(n, chunk.document, chunk.version, chunk.id, chunk.start, chunk.end, chunk.text, supported, reason)
