"""Packing: examples side by side in one row of tokens, without padding and without seeing one another.

Everything in a transformer but attention works on each token alone, so a pack is as good as a batch; attention is
computed example by example, each with its own positions from 0. Packs are filled up to a budget of tokens, and the
loss is a sum over learned tokens, so that how examples were packed changes no gradient.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from llmkit.errors import ModelError
from llmkit.training.rendering import Example

NAME = "llmkit_packed"


@dataclass(frozen=True)
class Pack:
    """Examples as one row. Tensors are torch's."""

    ids: Any
    """(1, tokens)."""
    positions: Any
    """(1, tokens), from 0 in each example."""
    targets: Any
    """(learned,): the tokens to be said."""
    sources: Any
    """(learned,): where in the row the state stands that says each of them, one before it."""
    owners: Any
    """(learned,): position in the pack of the example that each of them belongs to."""
    lengths: tuple[int, ...]
    """Tokens of each example, in order."""
    places: tuple[str, ...]


def grouped(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Positions of examples in packs of at most `budget` tokens, longest first into the first pack with room.

    An example longer than the budget has a pack of its own.
    """
    packs: list[list[int]] = []
    room: list[int] = []
    for n in sorted(range(len(lengths)), key=lambda n: (-lengths[n], n)):
        at = next((at for at, free in enumerate(room) if free >= lengths[n]), None)
        if at is None:
            packs.append([n])
            room.append(budget - lengths[n])
        else:
            packs[at].append(n)
            room[at] -= lengths[n]
    return packs


def packed(examples: Sequence[Example], budget: int) -> Iterator[Pack]:
    """Packs of the examples."""
    for group in grouped([len(example.ids) for example in examples], budget):
        yield pack([examples[n] for n in group])


def pack(examples: Sequence[Example]) -> Pack:
    """One pack of all of them. The first token of an example is never a target: nothing stands before it."""
    import torch

    ids = [token for example in examples for token in example.ids]
    positions = [n for example in examples for n in range(len(example.ids))]
    sources, targets, owners, start = [], [], [], 0
    for at, example in enumerate(examples):
        for n in range(1, len(example.ids)):
            if example.learned[n]:
                sources.append(start + n - 1)
                targets.append(example.ids[n])
                owners.append(at)
        start += len(example.ids)
    return Pack(
        torch.tensor([ids]),
        torch.tensor([positions]),
        torch.tensor(targets, dtype=torch.long),
        torch.tensor(sources, dtype=torch.long),
        torch.tensor(owners, dtype=torch.long),
        tuple(len(example.ids) for example in examples),
        tuple(example.place for example in examples),
    )


_lengths: tuple[int, ...] = ()
"""Of the pack that is being computed; gradient checkpointing computes it once more on the way back."""


@contextmanager
def attending(model: Any) -> Iterator[None]:
    """Within the block, the model's attention goes example by example; see :func:`states`."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    AttentionInterface.register(NAME, _attend)
    AttentionMaskInterface.register(NAME, lambda *_, **__: None)
    before = model.config._attn_implementation
    model.set_attn_implementation(NAME)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def states(model: Any, pack: Pack) -> Any:
    """Last hidden states of the tokens that say a learned token: (learned, hidden). Only for these are logits made."""
    body = model.get_base_model() if hasattr(model, "get_base_model") else model
    global _lengths
    _lengths = pack.lengths
    ids, positions = pack.ids.to(body.device), pack.positions.to(body.device)
    hidden = body.model(input_ids=ids, position_ids=positions, use_cache=False).last_hidden_state
    return hidden[0].index_select(0, pack.sources.to(body.device))


def _attend(
    module: Any, query: Any, key: Any, value: Any, attention_mask: Any, scaling: float | None = None,
    dropout: float = 0.0, **options: Any,
) -> tuple[Any, None]:  # fmt: skip
    """Causal attention inside each example of the pack. Shapes in: (1, heads, tokens, size); out: tokens first."""
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    if options.get("softcap") or max(_lengths) > int(options.get("sliding_window") or max(_lengths)):
        raise ModelError("this model's attention has a window shorter than an example, or caps its logits: not packed")
    how = {"dropout_p": dropout, "scale": scaling, "enable_gqa": key.shape[1] != query.shape[1]}
    out = [
        scaled_dot_product_attention(q, k, v, is_causal=True, **how)
        for q, k, v in zip(*(each.split(_lengths, dim=2) for each in (query, key, value)), strict=True)
    ]
    return torch.cat(out, dim=2).transpose(1, 2).contiguous(), None
