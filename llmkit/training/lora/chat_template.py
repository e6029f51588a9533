"""From a conversation to tokens and a mask: what the model reads, and what it learns to write.

::

    <|im_start|>user ⏎ When? <|im_end|> ⏎ <|im_start|>assistant ⏎   In May [1]. <|im_end|>   ⏎
    └────────────── read: no loss, no logits ──────────────────┘   └───── learned ─────┘   dropped

The prompt is rendered and tokenised exactly as in serving. The answer follows as the model will write it: the tokens of
its text, then the token that ends the turn. Whatever the chat template would leave out of a conversation (tools, calls,
names, a part of an answer) is an error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from llmkit.errors import DataError
from llmkit.training.lora.conversations import ChatTurn, Conversation


@dataclass(frozen=True, slots=True)
class Example:
    """A conversation as tokens."""

    ids: tuple[int, ...]
    learned: tuple[bool, ...]
    """For each token, whether the model learns to write it."""
    place: str
    prompt_digest: str = ""
    cut: int = 0
    """Tokens that were cut off at its end."""


@dataclass(frozen=True)
class ChatTemplate:
    """A tokenizer with its chat template."""

    tokenizer: Any
    ends: frozenset[int]
    """Tokens that end a turn."""
    learn: str = "last"
    """Which answers are learned: ``last``, or ``all`` of a conversation. A `weight` in the data overrides it."""

    def example(self, conversation: Conversation) -> Example:
        """The tokens of a conversation, up to the end of its last learned answer.

        Raises:
            DataError: the row holds a control token of the model, the template leaves a part of it out or refuses it,
                or the template does not end an answer.
        """
        from jinja2 import TemplateError

        self._refuse_control_tokens(conversation)
        try:
            return self._example(conversation)
        except (TemplateError, TypeError) as error:
            raise DataError(
                f"{conversation.place}: the chat template cannot write this conversation: {error}"
            ) from error

    def render(
        self, turns: Sequence[ChatTurn], tools: Sequence[Mapping[str, Any]] = (), *, answering: bool = False
    ) -> str:
        """The turns as the text that the model reads; `answering`: up to where its answer begins."""
        return str(
            self.tokenizer.apply_chat_template(
                [turn.template_values() for turn in turns],
                tools=[dict(tool) for tool in tools] or None,
                tokenize=False,
                add_generation_prompt=answering,
            )
        )

    def tokens(self, text: str) -> list[int]:
        """The tokens of a rendered text; the token that begins a text is part of the template."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _example(self, conversation: Conversation) -> Example:
        turns, tools, place = conversation.turns, conversation.tools, conversation.place
        whole = self.render(turns, tools)
        answers = self._learned_turns(turns)
        self._refuse_unwritten(conversation, whole, answers)
        encoded = self.tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True)
        ids, starts = encoded["input_ids"], [start for start, _ in encoded["offset_mapping"]]
        learned = [False] * len(ids)
        end = -1
        for n in answers:
            before = self.render(turns[:n], tools, answering=True)
            if not whole.startswith(before):
                raise DataError(
                    f"{place}: the chat template writes earlier turns differently once others follow, so only the last "
                    "answer can be learned: set learn: last, and give a row for each answer"
                )
            first = next((at for at, start in enumerate(starts) if start >= len(before)), len(ids))
            prompt = self.tokens(before)
            if ids[:first] != prompt:  # a token across the seam; in serving, the model sees the prompt's own tokens
                if len(answers) > 1 or n != len(turns) - 1:
                    raise DataError(
                        f"{place}: a token spans the end of a prompt and the begin of its answer, so only the last "
                        "answer can be learned: set learn: last"
                    )
                ids, first = prompt + self.tokens(whole[len(before) :]), len(prompt)
                learned = [False] * len(ids)
            found = next((at for at in range(first, len(ids)) if ids[at] in self.ends), None)
            if found is None:
                raise self._no_end(place)
            end = found
            learned[first : end + 1] = [True] * (end + 1 - first)
        # the model never writes what the template puts after the answer
        return Example(tuple(ids[: end + 1]), tuple(learned[: end + 1]), place, conversation.prompt_digest)

    def _learned_turns(self, turns: Sequence[ChatTurn]) -> list[int]:
        """Positions of the answers that are learned: by their weight, else by `learn`."""
        answers = [n for n, turn in enumerate(turns) if turn.role == "assistant"]
        by_default = answers if self.learn == "all" else answers[-1:]
        return [n for n in answers if turns[n].learned or (turns[n].learned is None and n in by_default)]

    def _refuse_unwritten(self, conversation: Conversation, whole: str, answers: Sequence[int]) -> None:
        """Refuse a row of which the template leaves something out.

        Earlier answers that are not learned are an exception: the templates of reasoning models shorten them, also when
        the model is served.

        Raises:
            DataError: names what is missing.
        """
        turns, tools, place = conversation.turns, conversation.tools, conversation.place
        if not answers:
            raise DataError(f"{place}: no answer of this row is learned: its last one has the weight 0")
        squeezed = "".join(whole.split())
        for n, turn in enumerate(turns):
            where = f"{place}: the chat template does not write"
            shortened_history = turn.role == "assistant" and n not in answers
            if not shortened_history and "".join(turn.content.split()) not in squeezed:
                raise DataError(f"{where} all of turn {n + 1} ({turn.role}): the model would not read or learn it")
            for name in turn.fields:
                fields = {key: value for key, value in turn.fields.items() if key != name}
                if self._same_without(turns, n, replace(turn, fields=fields), tools, whole):
                    raise DataError(f"{where} {name!r} of turn {n + 1}: remove it, or write it into the content")
            if turn.tool_calls and self._same_without(turns, n, replace(turn, tool_calls=()), tools, whole):
                raise DataError(
                    f"{where} tool_calls: use a base whose template does, or write the calls into the content as "
                    "`llmkit train tool-calls` does"
                )
        names = [str(tool["function"]["name"]) for tool in tools]
        if names and (self.render(turns) == whole or any(name not in whole for name in names)):
            raise DataError(
                f"{place}: the chat template does not write the row's tools: use a base whose template does, or write "
                "them into the system message"
            )

    def _same_without(
        self, turns: Sequence[ChatTurn], n: int, other: ChatTurn, tools: Sequence[Mapping[str, Any]], whole: str
    ) -> bool:
        """Whether the text stays the same with another turn `n`; a template that refuses the other turn says no."""
        from jinja2 import TemplateError

        try:
            return self.render([*turns[:n], other, *turns[n + 1 :]], tools) == whole
        except TemplateError:
            return False

    def _no_end(self, place: str) -> DataError:
        names = [self.tokenizer.convert_ids_to_tokens(end) for end in sorted(self.ends)]
        return DataError(
            f"{place}: the chat template does not end the answer with one of {names}: the model would never learn to "
            "stop. Use the tokenizer of the instruction-tuned model, whose template does"
        )

    def _refuse_control_tokens(self, conversation: Conversation) -> None:
        for turn in conversation.turns:
            for token in self.tokenizer.all_special_tokens:
                if any(token in text for text in turn.texts()):
                    raise DataError(
                        f"{conversation.place}: the {turn.role}'s text holds {token!r}, a control token of the model: "
                        "data must not end or begin turns; remove it"
                    )


def limit_length(examples: Sequence[Example], limit: int, too_long: str) -> tuple[list[Example], list[str]]:
    """Examples of at most `limit` tokens, and the places of those that were longer.

    Args:
        examples: examples of any length.
        limit: tokens.
        too_long: ``skip`` leaves longer ones out; ``cut`` drops tokens at their end, where the answer is.
    """
    kept, over = [], []
    for example in examples:
        if len(example.ids) <= limit:
            kept.append(example)
            continue
        over.append(example.place)
        if too_long == "cut":
            cut = len(example.ids) - limit
            kept.append(replace(example, ids=example.ids[:limit], learned=example.learned[:limit], cut=cut))
    return kept, over
