"""Step ``answer``: a chat model answers from numbered passages and cites them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from llmkit import prompts
from llmkit.errors import EmptyReply, ReplyError
from llmkit.models.chat import ChatModelSpec
from llmkit.part import Part
from llmkit.pipeline.steps.answering.prompt_passages import NOT_FOUND, find_refusal, fit_passages, format_passages
from llmkit.pipeline.steps.model_calls import stream_answer
from llmkit.prompts import PromptRef
from llmkit.protocols import Context
from llmkit.types import UNCHECKED, Answer, Citation, Hit, State

MARK = re.compile(r"\[(\d{1,3}(?:\s*,\s*\d{1,3})*)\]")
"""A citation mark: ``[2]`` or ``[1, 3]``."""


class AnswerStep(Part):
    """Asks the model and reads the ``[n]`` marks of its answer as citations, unchecked until ``ground``."""

    family: ClassVar[str] = "step"
    type: ClassVar[str] = "answer"
    reads: ClassVar[dict[str, prompts.Output]] = {"prompt": "cited"}
    needs: ClassVar[frozenset[str]] = frozenset({"question", "hits"})
    gives: ClassVar[frozenset[str]] = frozenset({"answer"})

    prompt: Annotated[str, PromptRef("question", "passages")] = "answer@v1"
    """Prompt with the variables ``question`` and ``passages``."""
    examples: int | None = Field(default=None, ge=0)
    """How many of the prompt's worked examples the model is shown; null: all of them."""
    model: ChatModelSpec | None = None
    """Chat model of this step; null: the pipeline's."""
    passages: int = Field(default=5, ge=1)
    """How many of the hits the model is shown, at most."""

    @model_validator(mode="after")
    def _check_examples(self) -> Self:
        prompts.check_examples(self.prompt, self.examples)
        return self

    def run(self, state: State, ctx: Context) -> State:
        """Fill ``state.answer`` and put the passages that the model was shown into ``state.hits``."""
        shown = state.hits[: self.passages]
        if not shown:
            ctx.note("no passages were found: the model was not asked")
            return state.replace(answer=Answer(NOT_FOUND, abstained=True))
        model = ctx.model(self.model)
        messages, kept = fit_passages(
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
        answer = replace(parse_answer(reply.text, shown), finish_reason=reply.finish_reason)
        return state.replace(hits=shown, answer=answer)

    def prompt_variables(self, state: State) -> dict[str, str]:
        """The values of the prompt's variables in a finished run, read from its state."""
        return {"question": state.question, "passages": format_passages(state.hits)}


def parse_answer(text: str, shown: Sequence[Hit]) -> Answer:
    """Read a model's reply: an abstention where it is a refusal, else an answer with the citations of its marks."""
    refusal = find_refusal(text)
    return Answer(refusal, abstained=True) if refusal else Answer(text, tuple(read_citations(text, shown)))


def draft_answer(state: State, text: str, failure: ReplyError | None = None) -> Answer:
    """Read a draft as ``answer`` reads its model's reply; without passages there is nothing to cite.

    Raises:
        ReplyError: the draft is empty; `failure` where it says why.
    """
    if not text.strip():
        raise failure or EmptyReply("the model gave no draft that can be used")
    return parse_answer(text, state.hits) if state.hits else Answer(text)


def read_citations(text: str, shown: Sequence[Hit]) -> list[Citation]:
    """The passages that a text cites, each once, in order. A number without a passage gives an unsupported citation."""
    citations = []
    numbers = [int(n) for mark in MARK.finditer(text) for n in mark.group(1).split(",")]
    for n in dict.fromkeys(numbers):
        if 1 <= n <= len(shown):
            citations.append(cite_passage(n, shown[n - 1]))
        else:
            reason = f"there is no passage {n}: {len(shown)} were shown"
            citations.append(Citation(n, "", "", "", 0, 0, "", supported=False, reason=reason))
    return citations


def cite_passage(n: int, hit: Hit, *, supported: bool = False, reason: str = UNCHECKED) -> Citation:
    """A citation of a whole passage."""
    chunk = hit.chunk
    return Citation(n, chunk.document, chunk.version, chunk.id, chunk.start, chunk.end, chunk.text, supported, reason)
