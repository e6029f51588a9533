"""The part of a conversation that the pipeline is shown: the last turns, and a summary of the older ones."""

from __future__ import annotations

from collections.abc import Sequence

from llmkit import prompts
from llmkit.errors import LlmkitError
from llmkit.models.ask import ask_model
from llmkit.pipeline.chat.session_store import SessionStore, Turn
from llmkit.pipeline.pipeline import Pipeline
from llmkit.pipeline.steps.retrieval.condense import format_turns
from llmkit.types import Message

_SUMMARY_WORDS = 120


def select_history(
    pipeline: Pipeline, store: SessionStore, name: str, turns: Sequence[Turn], max_words: int, notes: list[str]
) -> tuple[Message, ...]:
    """The last turns within a budget of words, after a summary of the older turns.

    Args:
        pipeline: its model writes the summary. Without a model, older turns are left out.
        store: keeps the summary.
        name: the session.
        turns: all turns of the session.
        max_words: budget of words for the turns. The last turn is always included.
        notes: a sentence is added for what was summarised or left out.
    """
    last_summarised, summary = store.summary(name)
    candidates = [turn for turn in turns if turn.n > last_summarised]
    count = len(candidates)
    while count > 1 and sum(map(_count_words, candidates[len(candidates) - count :])) > max_words:
        count -= 1
    older, recent = candidates[: len(candidates) - count], candidates[len(candidates) - count :]
    if older:
        longer = _summarise(pipeline, summary, older, max_words, notes)
        if longer:
            summary = longer
            store.summarise(name, older[-1].n, longer)
    messages = [Message("system", f"Earlier in this conversation: {summary}")] if summary else []
    return (*messages, *_messages(recent))


def _summarise(pipeline: Pipeline, summary: str, older: Sequence[Turn], max_words: int, notes: list[str]) -> str:
    """The summary and the older turns in a few sentences by the pipeline's model; empty where that is not possible."""
    span = f"turns {older[0].n} to {older[-1].n}"
    if pipeline.model is None:
        notes.append(f"{span} exceed the {max_words} words of history and were not shown: no model can summarise them")
        return ""
    messages = [Message("system", f"Earlier: {summary}")] if summary else []
    conversation = format_turns([*messages, *_messages(older)])
    prompt = prompts.load("summarise@v1").render({"conversation": conversation, "words": str(_SUMMARY_WORDS)})
    try:
        text = ask_model(pipeline.chat_model(), prompt, require="whole").text
    except (LlmkitError, OSError) as error:
        notes.append(f"{span} were not shown: their summary failed ({error})")
        return ""
    notes.append(f"{span} are shown as a summary of {len(text.split())} words")
    return " ".join(text.split()[: 2 * _SUMMARY_WORDS])


def _messages(turns: Sequence[Turn]) -> list[Message]:
    messages = []
    for turn in turns:
        messages += [Message("user", turn.question), Message("assistant", turn.answer.text)]
    return messages


def _count_words(turn: Turn) -> int:
    return len(turn.question.split()) + len(turn.answer.text.split())
