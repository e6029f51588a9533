"""Questions from passages by a chat model, in a fixed form; replies in another form are counted and left out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from llmkit import prompts
from llmkit.errors import ReplyError
from llmkit.training.synthetic.rule_questions import Question
from llmkit.types import Chunk

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

_PAIR = re.compile(r"Q:[ \t]*(?P<question>\S[^\n]*\?)[ \t]*\n[ \t]*A:[ \t]*(?P<answer>\S[^\n]*?)[ \t]*")


def by_model(
    chunks: Sequence[Chunk],
    model: BaseChatModel,
    *,
    per_passage: int,
    prompt: str = "questions@v1",
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[list[Question], Counter[str]]:
    """Questions of the passages in order, and what was left out, by reason.

    A reply that is not in the form the prompt asks for gives nothing, and so does an answer whose words do not stand
    in the passage: a model that makes things up would train the retriever to find them.

    Args:
        chunks: the passages.
        model: that writes.
        per_passage: most questions of one passage.
        prompt: with the variables ``passage`` and ``count``.
        on_progress: called with passages done and passages in all.

    Raises:
        ModelError: the model failed.
        PromptError: no such prompt, or other variables.
    """
    from llmkit.models.ask import ask_model

    asked = prompts.load(prompts.PromptRef("passage", "count").check(prompt))
    made: list[Question] = []
    left: Counter[str] = Counter()
    for done, chunk in enumerate(chunks, 1):
        messages = asked.render({"passage": chunk.indexed_text, "count": str(per_passage)})
        try:
            reply = ask_model(model, messages)
        except ReplyError:
            left["passages to which the model gave no reply"] += 1
            found: list[Question] = []
        else:
            found, wrong = parse(reply.text, chunk, cut=not reply.complete)
            left.update(wrong)
            left.update(reply.notes)
            broken = [one for one in found if "\ufffd" in one.text]
            left["questions with broken characters"] += len(broken)
            found = [one for one in found if one not in broken]
        left[f"questions beyond {per_passage} of a passage"] += max(0, len(found) - per_passage)
        made += found[:per_passage]
        if on_progress is not None:
            on_progress(done, len(chunks))
    return made, +left


def parse(reply: str, chunk: Chunk, *, cut: bool = False) -> tuple[list[Question], Counter[str]]:
    """The questions of a reply, and what was wrong with the rest of it; `cut`: its last question may lack its end."""
    left: Counter[str] = Counter()
    text = reply.strip()
    if text == "NONE":
        left["passages that offer no question"] += 1
        return [], left
    found: list[Question] = []
    passage = " ".join(chunk.text.split())
    blocks = re.split(r"\n(?=[ \t]*Q:)", text)
    if cut:
        left["questions that the model did not finish"] += 1
    for block in blocks[:-1] if cut else blocks:
        match = _PAIR.fullmatch(block.strip())
        if match is None:
            left["replies in another form than asked for"] += 1
        elif " ".join(match["answer"].split()) not in passage:
            left["answers that do not stand in the passage"] += 1
        else:
            found.append(Question(match["question"], match["answer"], "model", chunk))
    return found, left
