"""What is looked at before a training begins: the failures that otherwise show after hours, or never.

Every check either raises with the rows it found, or leaves a number in the :class:`Preflight` that is told and kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from llmkit.errors import DataError, ModelError
from llmkit.models.local.engine import Turn
from llmkit.training.adapters.base_model import Base
from llmkit.training.lora.chat_template import Example, Renderer
from llmkit.training.lora.datasets import Conversation

_SHOWN = 5


@dataclass
class Preflight:
    """What was found."""

    train: int = 0
    dev: int = 0
    tokens: int = 0
    """In the training data."""
    learned: int = 0
    """Of these, tokens that are learned."""
    longest: int = 0
    too_long: int = 0
    """Examples over the limit, left out or cut."""
    template_checked: int = 0
    """Prompts that the serving runtime wrote and tokenised the same way; 0: it is the same tokenizer."""
    masks: list[list[tuple[str, bool]]] = field(default_factory=list)
    """Three examples as runs of text: (text, is it learned)."""


def inspect(
    base: Base, renderer: Renderer, train: Sequence[Example], dev: Sequence[Example], too_long: int
) -> Preflight:
    """Look at the examples a training is about to learn.

    Raises:
        DataError: nothing is learned, an answer does not end, a text begins twice, or dev rows are in the data.
        ModelError: the tokenizer cannot tell padding from the end of an answer.
    """
    if not train:
        raise DataError(
            f"no example is left to learn from: {too_long} were longer than max_tokens, {len(dev)} are held out. Raise "
            "max_tokens, lower dev_share, or give more data"
        )
    learned = sum(sum(example.learned) for example in train)
    silent = [example.place for example in train if not any(example.learned)]
    if silent:
        raise DataError(
            f"{len(silent)} examples have no token that is learned: {_some(silent)}. The answer was cut off, or the "
            "chat template writes none: raise max_tokens, or leave these rows out"
        )
    endless = [one.place for one in train if not one.cut and one.ids[-1] not in renderer.ends]
    if endless:
        raise DataError(f"{len(endless)} examples do not end with the token that ends an answer: {_some(endless)}")
    begins_once(renderer, train)
    apart(train, dev)
    pad_is_no_end(base)
    return Preflight(
        train=len(train),
        dev=len(dev),
        tokens=sum(len(example.ids) for example in train),
        learned=learned,
        longest=max(len(example.ids) for example in train),
        too_long=too_long,
        masks=[runs(renderer.tokenizer, example) for example in spread(train, 3)],
    )


def begins_once(renderer: Renderer, examples: Sequence[Example]) -> None:
    """Exactly one token that begins a text, where the model has one of its own.

    ChatML uses its begin token for every turn; there it may stand at each of them, but not twice in a row.

    Raises:
        DataError: none, or two.
    """
    tokenizer = renderer.tokenizer
    bos = tokenizer.bos_token_id
    if bos is None:
        return
    expected = tokenizer("x")["input_ids"][:1] == [bos]
    turn_mark = str(tokenizer.chat_template).count(str(tokenizer.bos_token)) > 1
    for example in examples:
        leading = next((n for n, token in enumerate(example.ids) if token != bos), len(example.ids))
        count = leading if turn_mark else example.ids.count(bos)
        if count > 1 or (count == 0 and expected):
            raise DataError(
                f"{example.place}: the text begins with {count} tokens {tokenizer.bos_token!r}, not with one: the chat "
                "template writes it and the tokenizer adds it (or neither does)"
            )


def apart(train: Sequence[Example], dev: Sequence[Example]) -> None:
    """No prompt of the dev data is in the training data.

    Raises:
        DataError: names the rows.
    """
    seen = {example.prompt_digest: example.place for example in train}
    both = [f"{one.place} = {seen[one.prompt_digest]}" for one in dev if one.prompt_digest in seen]
    if both:
        raise DataError(
            f"{len(both)} rows of the dev data ask what rows of the training data ask, so that the dev loss would say "
            f"nothing: {_some(both)}. Take them out of one of the two"
        )


def pad_is_no_end(base: Base) -> None:
    """Padding that is also the end of an answer is never learned by trainers that mask it: choose another token.

    Packs have no padding, so nothing here depends on it; but the tokenizer goes to other trainers (TRL) too.

    Raises:
        ModelError: the vocabulary has no other token to take.
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
    spare = next((one for one in others if one != tokenizer.bos_token), others[0])
    tokenizer.pad_token = spare


def same_as_served(base: Base, renderer: Renderer, conversations: Sequence[Conversation]) -> int:
    """Have llama.cpp write and tokenise some prompts by the GGUF file's own template: they must be the trained ones.

    Returns:
        How many were compared; 0 where the base is no GGUF file.

    Raises:
        ModelError: the first prompt that differs, and how.
    """
    if base.gguf is None:
        return 0
    from llmkit import cpu
    from llmkit.models.local.llamacpp import LlamaCppEngine

    engine = LlamaCppEngine(base.gguf, context=2048, threads=cpu.threads())
    some = spread(conversations, 8)
    for conversation in some:
        turns: list[Turn] = [(turn.role, turn.content) for turn in conversation.turns[:-1]]
        served, ids = engine.prompt(turns)
        written = renderer.text(conversation.turns[:-1], answering=True)
        if served != written:
            at = next((n for n, (a, b) in enumerate(zip(served, written, strict=False)) if a != b), 0)
            raise ModelError(
                f"{conversation.place}: the prompt is trained as {written[max(0, at - 20) : at + 40]!r} and served by "
                f"llama.cpp as {served[max(0, at - 20) : at + 40]!r}: the chat templates differ"
            )
        if ids != renderer.tokens(written):
            raise ModelError(f"{conversation.place}: llama.cpp tokenises the prompt otherwise than the training does")
    return len(some)


def runs(tokenizer: Any, example: Example) -> list[tuple[str, bool]]:
    """The text of an example in runs of what is read and what is learned."""
    pairs = zip(example.ids, example.learned, strict=True)
    return [
        (tokenizer.decode([token for token, _ in run], skip_special_tokens=False), learned)
        for learned, run in groupby(pairs, key=lambda pair: pair[1])
    ]


def spread(items: Sequence[Any], n: int) -> list[Any]:
    """Up to `n` items from begin to end."""
    return [items[at * (len(items) - 1) // max(1, n - 1)] for at in range(n)] if len(items) > n else list(items)


def _some(places: Sequence[str]) -> str:
    more = f" and {len(places) - _SHOWN} more" if len(places) > _SHOWN else ""
    return ", ".join(places[:_SHOWN]) + more
