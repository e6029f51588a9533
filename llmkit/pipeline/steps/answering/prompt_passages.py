"""Numbered passages for a prompt, as many as the model's context window holds; and the refusal that prompts ask for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from llmkit.errors import TooLong
from llmkit.models.chat import context_window, count_tokens
from llmkit.protocols import PromptTemplate
from llmkit.types import Chunk, Hit, Message

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

NOT_FOUND = "Not found in these documents."
_REFUSALS = (NOT_FOUND, "文書の中に見つかりません。")
"""The sentences that the answering prompts ask for where the passages have no answer, one for each language."""


def find_refusal(text: str) -> str | None:
    """The refusal sentence that a reply begins with, or None where it is an answer."""
    folded = text.casefold()
    return next((refusal for refusal in _REFUSALS if folded.startswith(refusal.casefold().rstrip(".。"))), None)


def format_passages(hits: Sequence[Hit], first: int = 1) -> str:
    """The passages as the model reads them: ``[1] title › heading, page 3`` and the text below, for each hit.

    Args:
        hits: the passages.
        first: number of the first one.
    """
    return "\n\n".join(
        f"[{n}] {passage_label(hit.chunk)}\n{hit.chunk.text}".strip() for n, hit in enumerate(hits, first)
    )


def passage_label(chunk: Chunk) -> str:
    """The place of a chunk, for people: title and headings, part, page."""
    page = f"page {chunk.page}" if chunk.page is not None else ""
    return ", ".join(item for item in (chunk.context or chunk.document, chunk.part or "", page) if item)


def fit_passages(
    model: BaseChatModel,
    prompt: PromptTemplate,
    values: Mapping[str, str],
    hits: Sequence[Hit],
    *,
    reserve: int,
    examples: int | None = None,
) -> tuple[list[Message], int]:
    """Render the prompt with as many of the best hits as fit the model's context window.

    Args:
        model: gives its context window and counts tokens.
        prompt: has the variable ``passages`` besides those in `values`.
        values: the other variables.
        hits: best first; the lowest ranked are left out first.
        reserve: tokens to keep free for the answer.
        examples: how many of the prompt's examples are shown; None: all.

    Returns:
        The messages, and how many hits they contain.

    Raises:
        TooLong: the prompt does not fit even with one passage.
    """

    def render(kept: int) -> list[Message]:
        return prompt.render({**values, "passages": format_passages(hits[:kept])}, examples)

    window = context_window(model)
    if window is None:
        return render(len(hits)), len(hits)
    budget = window - reserve
    low, high = 0, len(hits)
    while low < high:  # the number of tokens grows with the number of passages
        middle = (low + high + 1) // 2
        if count_tokens(model, render(middle)) <= budget:
            low = middle
        else:
            high = middle - 1
    if hits and low == 0:
        needed = count_tokens(model, render(1))
        raise TooLong(
            f"the prompt with its best passage has {needed} tokens; the model's window of {window} leaves {budget} "
            f"beside the {reserve} reserved for the answer: use smaller chunks, a shorter question or a larger model"
        )
    return render(low), low
