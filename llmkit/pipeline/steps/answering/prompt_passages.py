"""Numbered passages for a prompt, as many as the model's context window holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from llmkit.errors import TooLong
from llmkit.models.chat import context_window, count_tokens
from llmkit.prompts import Prompt
from llmkit.types import Chunk, Hit, Message

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

NOT_FOUND = "Not found in these documents."
_REFUSALS = (NOT_FOUND, "文書の中に見つかりません。")
"""What the answering prompts have a model say where the passages hold no answer, by language."""


def refusal(text: str) -> str | None:
    """The refusal that a reply is, in the words of its prompt; None where it is an answer."""
    said = text.casefold()
    return next((words for words in _REFUSALS if said.startswith(words.casefold().rstrip(".。"))), None)


def numbered(hits: Sequence[Hit], first: int = 1) -> str:
    """``[1] title › heading, page 3`` and the text under it, for each hit."""
    return "\n\n".join(f"[{n}] {place(hit.chunk)}\n{hit.chunk.text}".strip() for n, hit in enumerate(hits, first))


def place(chunk: Chunk) -> str:
    """Where a chunk stands, for people: title and headings, part, page."""
    page = f"page {chunk.page}" if chunk.page is not None else ""
    return ", ".join(word for word in (chunk.context or chunk.document, chunk.part or "", page) if word)


def fit(
    model: BaseChatModel,
    prompt: Prompt,
    values: Mapping[str, str],
    hits: Sequence[Hit],
    *,
    reserve: int,
    examples: int | None = None,
) -> tuple[list[Message], int]:
    """Render the prompt with as many of the best hits as fit.

    Args:
        model: tells its context window and counts tokens.
        prompt: has the variable ``passages`` beside those in `values`.
        values: the other variables.
        hits: best first; the lowest ranked are left out first.
        reserve: tokens kept free for the answer.
        examples: how many of the prompt's examples are shown; none: all.

    Returns:
        The messages, and how many hits they hold.

    Raises:
        TooLong: the prompt does not fit even with one passage.
    """

    def render(kept: int) -> list[Message]:
        return prompt.render({**values, "passages": numbered(hits[:kept])}, examples)

    window = context_window(model)
    if window is None:
        return render(len(hits)), len(hits)
    budget = window - reserve
    low, high = 0, len(hits)
    while low < high:  # tokens grow with the number of passages
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
