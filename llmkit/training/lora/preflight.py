"""Checks before the first step, for mistakes that would otherwise show after hours, or never.

A check either raises an error with the rows it found, or leaves a number or a note in the :class:`Preflight`, which is
shown and kept with the adapter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from typing import Any

from llmkit.errors import DataError, ModelError
from llmkit.models.local.engine import Turn
from llmkit.training.adapters.base_model import Base
from llmkit.training.lora.chat_template import ChatTemplate, Example
from llmkit.training.lora.conversations import Conversation

_SHOWN = 5


@dataclass
class Preflight:
    """What the checks found."""

    train: int = 0
    dev: int = 0
    tokens: int = 0
    """In the training data."""
    learned: int = 0
    """Of these, tokens that are learned."""
    longest: int = 0
    """Tokens of the longest example."""
    too_long: int = 0
    """Examples over the limit, which are left out or cut."""
    template_checked: int = 0
    """Prompts that llama.cpp wrote and tokenised the same way as the training; 0: the base is no GGUF file."""
    notes: list[str] = field(default_factory=list)
    """What the user should know, a line each."""
    masks: list[list[tuple[str, bool]]] = field(default_factory=list)
    """Three examples as runs of text: (text, whether it is learned)."""


def inspect(
    base: Base, template: ChatTemplate, train: Sequence[Example], dev: Sequence[Example], too_long: Sequence[str] = ()
) -> Preflight:
    """Check the examples before a training.

    Args:
        base: the opened base.
        template: its chat template.
        train: examples to learn.
        dev: examples held out.
        too_long: places of the examples over the limit.

    Raises:
        DataError: nothing is learned, an answer has no end, a text begins twice, or dev rows are in the training data.
        ModelError: the tokenizer cannot tell padding from the end of an answer.
    """
    if not train:
        raise DataError(
            f"no example is left to learn from: {len(too_long)} were longer than max_tokens, {len(dev)} are held out. "
            "Raise max_tokens, lower dev_share, or give more data"
        )
    without = [example.place for example in train if not any(example.learned)]
    if without:
        raise DataError(
            f"{len(without)} examples have no token that is learned: {_some(without)}. The answer was cut off, or the "
            "chat template writes none: raise max_tokens, or leave these rows out"
        )
    endless = [one.place for one in train if not one.cut and one.ids[-1] not in template.ends]
    if endless:
        raise DataError(f"{len(endless)} examples do not end with the token that ends an answer: {_some(endless)}")
    check_begin_token(template, train)
    refuse_overlap(train, dev)
    separate_padding(base)
    notes = [f"longer than max_tokens: {_some(too_long)}"] if too_long else []
    return Preflight(
        train=len(train),
        dev=len(dev),
        tokens=sum(len(example.ids) for example in train),
        learned=sum(sum(example.learned) for example in train),
        longest=max(len(example.ids) for example in train),
        too_long=len(too_long),
        notes=[*notes, *repetitions(train)],
        masks=[text_runs(template.tokenizer, example) for example in spread(train, 3)],
    )


def check_begin_token(template: ChatTemplate, examples: Sequence[Example]) -> None:
    """Exactly one token must begin a text, if the model has such a token.

    ChatML begins every turn with it; there it may stand at each turn, but not twice in a row.

    Raises:
        DataError: a text begins with none or with two.
    """
    tokenizer = template.tokenizer
    bos = tokenizer.bos_token_id
    if bos is None:
        return
    expected = tokenizer("x")["input_ids"][:1] == [bos]
    marks_turns = str(tokenizer.chat_template).count(str(tokenizer.bos_token)) > 1
    for example in examples:
        leading = next((n for n, token in enumerate(example.ids) if token != bos), len(example.ids))
        count = leading if marks_turns else example.ids.count(bos)
        if count > 1 or (count == 0 and expected):
            raise DataError(
                f"{example.place}: the text begins with {count} tokens {tokenizer.bos_token!r}, not with one: the chat "
                "template writes it and the tokenizer adds it (or neither does)"
            )


def refuse_overlap(train: Sequence[Example], dev: Sequence[Example]) -> None:
    """No prompt of the dev data may be in the training data.

    Raises:
        DataError: names the rows.
    """
    seen = {example.prompt_digest: example.place for example in train}
    both = [f"{one.place} = {seen[one.prompt_digest]}" for one in dev if one.prompt_digest in seen]
    if both:
        raise DataError(
            f"{len(both)} rows of the dev data have the prompt of a row of the training data, so the dev loss would "
            f"measure memory: {_some(both)}. Take them out of one of the two"
        )


def repetitions(examples: Sequence[Example]) -> list[str]:
    """Notes on rows that repeat an earlier row, and on prompts with several different answers."""
    notes, first, answers = [], dict[tuple[int, ...], str](), dict[str, set[tuple[int, ...]]]()
    same, places = [], Counter[str]()
    for example in examples:
        if example.ids in first:
            same.append(f"{example.place} = {first[example.ids]}")
            continue
        first[example.ids] = example.place
        answers.setdefault(example.prompt_digest, set()).add(example.ids)
        places[example.prompt_digest] += 1
    if same:
        notes.append(f"{len(same)} rows are the same as an earlier row and count twice: {_some(same)}")
    several = {digest for digest, found in answers.items() if digest and len(found) > 1}
    if several:
        rows = [example.place for example in examples if example.prompt_digest in several]
        notes.append(f"{len(several)} prompts have several different answers: {_some(rows)}")
    return notes


def consecutive_users(conversations: Sequence[Conversation]) -> list[str]:
    """A note on rows in which two turns of the user follow one another; a chat never sends such a prompt."""
    found = [
        one.place
        for one in conversations
        if any(before.role == after.role == "user" for before, after in pairwise(one.turns))
    ]
    return [f"{len(found)} rows have two turns of the user in a row: {_some(found)}"] if found else []


def separate_padding(base: Base) -> None:
    """Give the tokenizer a padding token that is not the end of an answer.

    Packs have no padding, so nothing here depends on it. But the tokenizer is saved with the model, and trainers that
    mask padding would never learn an end that is also padding.

    Raises:
        ModelError: the vocabulary has no other special token.
    """
    tokenizer = base.tokenizer
    if tokenizer.pad_token_id is not None and tokenizer.pad_token_id not in base.ends:
        return
    known = [tokenizer.unk_token, *tokenizer.all_special_tokens]
    others = [one for one in known if one and tokenizer.convert_tokens_to_ids(one) not in base.ends]
    if not others:
        raise ModelError(
            f"the tokenizer of {base.name} pads with the token that ends an answer and has no other special token"
        )
    tokenizer.pad_token = next((one for one in others if one != tokenizer.bos_token), others[0])


def compare_with_serving(base: Base, template: ChatTemplate, conversations: Sequence[Conversation]) -> int:
    """Let llama.cpp write and tokenise some prompts by the template in the GGUF file, and compare with the training.

    Returns:
        How many prompts were compared; 0 if the base is no GGUF file. Prompts with tools or tool calls are left out:
        llama.cpp writes them from a request of another form.

    Raises:
        ModelError: the first prompt that differs, and where.
    """
    if base.gguf is None:
        return 0
    from llmkit import cpu
    from llmkit.models.local.llamacpp import LlamaCppEngine

    engine = LlamaCppEngine(base.gguf, context=2048, threads=cpu.threads())
    some = spread([one for one in conversations if not _uses_tools(one)], 8)
    for conversation in some:
        turns: list[Turn] = [(turn.role, turn.content) for turn in conversation.turns[:-1]]
        served, ids = engine.prompt(turns)
        trained = template.render(conversation.turns[:-1], answering=True)
        if served != trained:
            at = next((n for n, (a, b) in enumerate(zip(served, trained, strict=False)) if a != b), 0)
            raise ModelError(
                f"{conversation.place}: the prompt is trained as {trained[max(0, at - 20) : at + 40]!r} and served by "
                f"llama.cpp as {served[max(0, at - 20) : at + 40]!r}: the chat templates differ"
            )
        if ids != template.tokens(trained):
            raise ModelError(f"{conversation.place}: llama.cpp tokenises the prompt differently from the training")
    return len(some)


def text_runs(tokenizer: Any, example: Example) -> list[tuple[str, bool]]:
    """The text of an example in runs: (text, whether it is learned)."""
    pairs = zip(example.ids, example.learned, strict=True)
    return [
        (tokenizer.decode([token for token, _ in run], skip_special_tokens=False), learned)
        for learned, run in groupby(pairs, key=lambda pair: pair[1])
    ]


def spread(items: Sequence[Any], n: int) -> list[Any]:
    """Up to `n` items, evenly from the first to the last."""
    return [items[at * (len(items) - 1) // max(1, n - 1)] for at in range(n)] if len(items) > n else list(items)


def _uses_tools(conversation: Conversation) -> bool:
    return bool(conversation.tools) or any(
        turn.tool_calls or turn.fields or turn.role == "tool" for turn in conversation.turns
    )


def _some(places: Sequence[str]) -> str:
    more = f" and {len(places) - _SHOWN} more" if len(places) > _SHOWN else ""
    return ", ".join(places[:_SHOWN]) + more
