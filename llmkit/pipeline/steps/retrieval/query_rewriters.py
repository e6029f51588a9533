"""Rewriters: a chat model makes other queries of a question. The question itself is always searched for too.

What the model says is data: lines are taken by their number, everything else is left out, counts and lengths are
capped, and a reply that holds nothing usable changes nothing but is told.
"""

from __future__ import annotations

import re
from typing import ClassVar

from pydantic import Field, field_validator

from llmkit import prompts
from llmkit.errors import ReplyError
from llmkit.models.chat import ChatModelSpec
from llmkit.part import Part
from llmkit.pipeline.ask import ask_quietly
from llmkit.prompts import Output
from llmkit.protocols import Context, Rewritten

_NUMBERED = re.compile(r"^[ \t]*(\d{1,2})[.):][ \t]+(\S.*?)[ \t]*$", re.MULTILINE)
_MARKUP = " \t\"'*_`“”‘’«»"


class _Asking(Part):
    """The fields that all rewriters share."""

    family: ClassVar[str] = "rewriter"
    variables: ClassVar[tuple[str, ...]] = ("question",)
    reads: ClassVar[dict[str, Output]] = {"prompt": "lines"}

    model: ChatModelSpec | None = None
    """Chat model of this rewriter; the pipeline's where it names none."""
    max_chars: int = Field(default=300, ge=20, le=4000)
    """Longest query that is taken from the model; a longer one is left out and told."""

    @field_validator("prompt", check_fields=False)
    @classmethod
    def _prompt_is_there(cls, value: str) -> str:
        return prompts.with_variables(value, cls.variables)

    def _ask(self, prompt: str, question: str, ctx: Context, *, lines: bool = True, **more: str) -> str:
        """The model's reply; of one that was cut off, the complete lines, or all of it where it is no list of lines."""
        messages = ctx.prompt(prompt).render({"question": question, **more})
        try:
            reply = ask_quietly(ctx.model(self.model), messages, ctx, require="text")
        except ReplyError as error:
            ctx.note(f"only the question was searched for: {error}")
            return ""
        ctx.record(rewriter=self.type, rewriter_said=reply.text[:4000])
        if reply.complete:
            return reply.text
        ctx.note(f"{reply.ending}: its last line was not searched for" if lines else reply.ending)
        return reply.text.rpartition("\n")[0] if lines else reply.text

    def _queries(self, text: str, question: str, most: int, ctx: Context) -> tuple[str, ...]:
        """The numbered lines of a reply that are queries of their own."""
        found = numbered_lines(text)
        fitting = [line for line in found if len(line) <= self.max_chars]
        if len(fitting) < len(found):
            ctx.note(
                f"{len(found) - len(fitting)} rewritten queries were longer than {self.max_chars} characters: left out"
            )
        new = list(dict.fromkeys(line for line in fitting if line.casefold() != question.casefold()))
        if not new:
            ctx.note(f"the model's reply to {self.type} holds no usable query: only the question was searched for")
        return tuple(new[:most])


class MultiQuery(_Asking):
    """The question in other words, several times; the rankings are fused."""

    type: ClassVar[str] = "multi-query"
    variables: ClassVar[tuple[str, ...]] = ("question", "count")

    prompt: str = "multi-query@v1"
    """Prompt with the variables ``question`` and ``count``."""
    queries: int = Field(default=3, ge=1, le=10)
    """How many other wordings are asked for and taken, at most."""

    def rewrite(self, question: str, ctx: Context) -> Rewritten:
        """Other wordings."""
        text = self._ask(self.prompt, question, ctx, count=str(self.queries))
        return Rewritten(queries=self._queries(text, question, self.queries, ctx))


class StepBack(_Asking):
    """A more general question, whose answer holds the background (Zheng et al. 2023)."""

    type: ClassVar[str] = "step-back"

    prompt: str = "step-back@v1"
    """Prompt with the variable ``question``."""

    def rewrite(self, question: str, ctx: Context) -> Rewritten:
        """One more general question."""
        return Rewritten(queries=self._queries(self._ask(self.prompt, question, ctx), question, 1, ctx))


class Decompose(_Asking):
    """The smaller questions a question is made of, each searched for."""

    type: ClassVar[str] = "decompose"
    variables: ClassVar[tuple[str, ...]] = ("question", "count")

    prompt: str = "decompose@v1"
    """Prompt with the variables ``question`` and ``count``."""
    queries: int = Field(default=4, ge=1, le=10)
    """How many smaller questions are taken, at most."""

    def rewrite(self, question: str, ctx: Context) -> Rewritten:
        """Smaller questions."""
        text = self._ask(self.prompt, question, ctx, count=str(self.queries))
        return Rewritten(queries=self._queries(text, question, self.queries, ctx))


class HyDE(_Asking):
    """A passage that would answer the question, made up; what is near to it is found (Gao et al. 2022).

    The passage is only searched with: it is never shown, cited or answered from.
    """

    type: ClassVar[str] = "hyde"
    reads: ClassVar[dict[str, Output]] = {"prompt": "text"}

    prompt: str = "hyde@v1"
    """Prompt with the variable ``question``."""
    passages: int = Field(default=1, ge=1, le=8)
    """How many passages are made up, one call each; worth more than one with a temperature above 0."""
    max_chars: int = Field(default=2000, ge=20, le=8000)
    """Longest passage; a longer one is cut there, and where the encoder stops reading."""

    def rewrite(self, question: str, ctx: Context) -> Rewritten:
        """Hypothetical passages."""
        texts = [" ".join(self._ask(self.prompt, question, ctx, lines=False).split()) for _ in range(self.passages)]
        found = tuple(dict.fromkeys(text[: self.max_chars].rstrip() for text in texts if re.search(r"\w", text)))
        if not found:
            ctx.note("the model made up no passage: only the question was searched for")
        return Rewritten(passages=found)


def numbered_lines(text: str) -> list[str]:
    """The texts of lines such as ``1. …`` or ``2) …``, marks around them left out; other lines are no queries."""
    lines = (match.group(2).strip(_MARKUP) for match in _NUMBERED.finditer(text))
    return [line for line in lines if re.search(r"\w", line)]
