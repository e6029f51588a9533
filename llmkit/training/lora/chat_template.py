"""From a conversation to tokens and a mask: what the model reads, and what it learns to say.

::

    <|im_start|>user ⏎ When? <|im_end|> ⏎ <|im_start|>assistant ⏎   In May [1]. <|im_end|>   ⏎
    └────────────── read: no loss, no logits ──────────────────┘   └───── learned ─────┘   dropped

The prompt is rendered and tokenised exactly as serving does it, and the answer is put behind it as the model will say
it: the tokens of its text and then the one that ends the turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from llmkit.errors import DataError
from llmkit.training.lora.datasets import Conversation
from llmkit.types import Message


@dataclass(frozen=True, slots=True)
class Example:
    """A conversation as tokens."""

    ids: tuple[int, ...]
    learned: tuple[bool, ...]
    """Of each token: whether the model learns to say it."""
    place: str
    prompt_digest: str = ""
    cut: int = 0
    """Tokens that were cut off at its end."""


@dataclass(frozen=True)
class Renderer:
    """Renders with one tokenizer and its chat template."""

    tokenizer: Any
    ends: frozenset[int]
    """Tokens that end a turn."""
    learn: str = "last"
    """``last``: the last answer; ``all``: every answer of the conversation."""

    def example(self, conversation: Conversation) -> Example:
        """The tokens of a conversation.

        Raises:
            DataError: the row holds a control token of the model, or the template does not end an answer.
        """
        turns = conversation.turns
        self._refuse_control(conversation)
        whole = self.text(turns)
        encoded = self.tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True)
        ids, begins = encoded["input_ids"], [start for start, _ in encoded["offset_mapping"]]
        learned = [False] * len(ids)
        answers = [n for n, turn in enumerate(turns) if turn.role == "assistant"]
        for n in answers if self.learn == "all" else answers[-1:]:
            before = self.text(turns[:n], answering=True)
            if not whole.startswith(before):
                raise DataError(
                    f"{conversation.place}: the chat template writes earlier turns differently once others follow: "
                    "only the last answer can be learned (learn: last), one row for each answer"
                )
            first = next((at for at, begin in enumerate(begins) if begin >= len(before)), len(ids))
            prompt = self.tokens(before)
            if ids[:first] != prompt:  # a token across the seam; the model will see the prompt's own tokens
                if n != answers[-1] or self.learn == "all":
                    raise DataError(f"{conversation.place}: a token spans the end of the prompt: use learn: last")
                ids, first = prompt + self.tokens(whole[len(before) :]), len(prompt)
                learned = [False] * len(ids)
            end = next((at for at in range(first, len(ids)) if ids[at] in self.ends), None)
            if end is None:
                raise self._endless(conversation.place)
            learned[first : end + 1] = [True] * (end + 1 - first)
            last = end + 1
        # what the template writes after the answer is never said
        return Example(tuple(ids[:last]), tuple(learned[:last]), conversation.place, conversation.prompt_digest)

    def text(self, turns: Sequence[Message], *, answering: bool = False) -> str:
        """The turns in the model's own form; `answering`: up to where its answer begins."""
        messages = [{"role": turn.role, "content": turn.content} for turn in turns]
        return str(self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=answering))

    def tokens(self, text: str) -> list[int]:
        """Tokens of a rendered text; what begins a text is in the template already."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _endless(self, place: str) -> DataError:
        names = [self.tokenizer.convert_ids_to_tokens(end) for end in sorted(self.ends)]
        return DataError(
            f"{place}: the chat template does not end the answer with one of {names}: the model would never learn to "
            "stop. Use the tokenizer of the instruction-tuned model, whose template does"
        )

    def _refuse_control(self, conversation: Conversation) -> None:
        for turn in conversation.turns:
            for token in self.tokenizer.all_special_tokens:
                if token in turn.content:
                    raise DataError(
                        f"{conversation.place}: the {turn.role}'s text holds {token!r}, a control token of the model: "
                        "data must not end or begin turns; remove it"
                    )


def shortened(examples: Sequence[Example], limit: int, too_long: str) -> tuple[list[Example], int]:
    """Examples of at most `limit` tokens, and how many were longer.

    Args:
        examples: any length.
        limit: tokens.
        too_long: ``skip`` leaves longer ones out, ``cut`` drops what is over at their end, where the answer is.
    """
    kept, over = [], 0
    for example in examples:
        if len(example.ids) <= limit:
            kept.append(example)
            continue
        over += 1
        if too_long == "cut":
            cut = len(example.ids) - limit
            kept.append(replace(example, ids=example.ids[:limit], learned=example.learned[:limit], cut=cut))
    return kept, over
