"""Query rewriters: a chat model writes more queries for a question, which are searched for besides the question.

The reply of the model is untrusted data. Only its numbered lines are used, their number and length are limited, and a
reply without a usable line adds a note and no query.
"""

from __future__ import annotations

import re
from typing import Annotated, ClassVar

from pydantic import Field

from llmkit.errors import ReplyError
from llmkit.models.chat import ChatModelSpec
from llmkit.part import Part
from llmkit.pipeline.steps.model_calls import ask_quietly
from llmkit.prompts import Output, PromptRef
from llmkit.protocols import Context, Rewritten

_NUMBERED = re.compile(r"^[ \t]*(\d{1,2})[.):][ \t]+(\S.*?)[ \t]*$", re.MULTILINE)
_MARKUP = " \t\"'*_`“”‘’«»"
_QuestionPrompt = Annotated[str, PromptRef("question")]
_CountPrompt = Annotated[str, PromptRef("question", "count")]


class _ModelRewriter(Part):
    """The fields and the model call that all rewriters share."""

    family: ClassVar[str] = "rewriter"
    reads: ClassVar[dict[str, Output]] = {"prompt": "lines"}

    model: ChatModelSpec | None = None
    """Chat model of this rewriter; null: the pipeline's."""
    max_chars: int = Field(default=300, ge=20, le=4000)
    """Maximum characters of a query; a longer one is left out, with a note."""

    def _ask(self, prompt: str, question: str, ctx: Context, *, lines: bool = True, **more: str) -> str:
        """The model's reply. Of a list of lines that was cut off, the last line is left out: it may lack its end."""
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

    def _queries(self, text: str, question: str, limit: int, ctx: Context) -> tuple[str, ...]:
        """The numbered lines of a reply that differ from the question, at most `limit`."""
        lines = numbered_lines(text)
        fitting = [line for line in lines if len(line) <= self.max_chars]
        if len(fitting) < len(lines):
            ctx.note(
                f"{len(lines) - len(fitting)} rewritten queries were longer than {self.max_chars} characters: left out"
            )
        new = list(dict.fromkeys(line for line in fitting if line.casefold() != question.casefold()))
        if not new:
            ctx.note(f"the model's reply to {self.type} contains no usable query: only the question was searched for")
        return tuple(new[:limit])


class MultiQuery(_ModelRewriter):
    """Rephrases the question several times; the rankings are fused."""

    type: ClassVar[str] = "multi-query"

    prompt: _CountPrompt = "multi-query@v1"
    """Prompt with the variables ``question`` and ``count``."""
    queries: int = Field(default=3, ge=1, le=10)
    """Number of rephrased questions to ask for, and the maximum that is used."""

    def rewrite(self, question: str, ctx: Context) -> Rewritten:
        """Rephrased questions."""
        text = self._ask(self.prompt, question, ctx, count=str(self.queries))
        return Rewritten(queries=self._queries(text, question, self.queries, ctx))


class StepBack(_ModelRewriter):
    """Asks a more general question, whose answer gives the background (Zheng et al. 2023, arXiv 2310.06117)."""

    type: ClassVar[str] = "step-back"

    prompt: _QuestionPrompt = "step-back@v1"
    """Prompt with the variable ``question``."""

    def rewrite(self, question: str, ctx: Context) -> Rewritten:
        """One more general question."""
        return Rewritten(queries=self._queries(self._ask(self.prompt, question, ctx), question, 1, ctx))


class Decompose(_ModelRewriter):
    """Splits the question into smaller questions, each of which is searched for."""

    type: ClassVar[str] = "decompose"

    prompt: _CountPrompt = "decompose@v1"
    """Prompt with the variables ``question`` and ``count``."""
    queries: int = Field(default=4, ge=1, le=10)
    """Maximum number of smaller questions."""

    def rewrite(self, question: str, ctx: Context) -> Rewritten:
        """Smaller questions."""
        text = self._ask(self.prompt, question, ctx, count=str(self.queries))
        return Rewritten(queries=self._queries(text, question, self.queries, ctx))


class HyDE(_ModelRewriter):
    """Writes a hypothetical passage that answers the question, and searches near it.

    The hypothetical passage is only a query: it is never shown, cited or answered from (Gao et al. 2022,
    arXiv 2212.10496).
    """

    type: ClassVar[str] = "hyde"
    reads: ClassVar[dict[str, Output]] = {"prompt": "text"}

    prompt: _QuestionPrompt = "hyde@v1"
    """Prompt with the variable ``question``."""
    passages: int = Field(default=1, ge=1, le=8)
    """Number of hypothetical passages, one call each. More than one is useful with a temperature above 0."""
    max_chars: int = Field(default=2000, ge=20, le=8000)
    """Maximum characters of a passage. A longer one is truncated, there and at the encoder's maximum input."""

    def rewrite(self, question: str, ctx: Context) -> Rewritten:
        """Hypothetical passages."""
        texts = [" ".join(self._ask(self.prompt, question, ctx, lines=False).split()) for _ in range(self.passages)]
        passages = tuple(dict.fromkeys(text[: self.max_chars].rstrip() for text in texts if re.search(r"\w", text)))
        if not passages:
            ctx.note("the model wrote no passage: only the question was searched for")
        return Rewritten(passages=passages)


def numbered_lines(text: str) -> list[str]:
    """The texts of lines such as ``1. …`` or ``2) …``, without quotes and Markdown around them."""
    lines = (match.group(2).strip(_MARKUP) for match in _NUMBERED.finditer(text))
    return [line for line in lines if re.search(r"\w", line)]
