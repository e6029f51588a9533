"""Packing: several examples in one row of tokens, without padding, with common beginnings computed once.

::

    ┌ system, passages ┬ question 1, answer 1         a tree of segments, written one after another;
    │                  ├ question 2, answer 2         a token sees its own segment and those above it
    │                  └ question 3, answer 3
    └ other passages ──── question 4, answer 4

Apart from attention, a transformer computes each token by itself, so a pack is as good as a batch. Attention runs
segment by segment, with positions as if each example stood alone, and no example sees another. A hidden state depends
only on the tokens before it: where two examples begin with the same system prompt or the same passages, one computation
serves both, and its gradient is the sum of theirs. The loss is a sum over learned tokens, so the packing does not
change the gradient.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from llmkit.errors import ModelError
from llmkit.training.lora.chat_template import Example

_ATTENTION = "llmkit_packed"

MIN_SHARED = 16
"""Tokens that examples must have in common before a segment of its own is worth it."""


@dataclass(frozen=True)
class Segment:
    """A run of tokens of the row."""

    length: int
    above: tuple[int, ...]
    """Segments it continues, from the beginning of the example on."""


@dataclass(frozen=True)
class Pack:
    """Examples as one row. Tensors are torch's."""

    ids: Any
    """(1, tokens)."""
    positions: Any
    """(1, tokens), from 0 in each example."""
    targets: Any
    """(learned,): the tokens that are learned."""
    sources: Any
    """(learned,): position in the row of the token before each of them, whose hidden state predicts it."""
    owners: Any
    """(learned,): the example of each of them, counted from 0 in the pack."""
    segments: tuple[Segment, ...]
    """In the order of the row."""
    lengths: tuple[int, ...]
    """Tokens of each example, in order. If examples share a beginning, the row is shorter than their sum."""
    places: tuple[str, ...]


def shared_prefix(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens from the start are the same."""
    for n, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return n
    return min(len(one), len(other))


def group_into_packs(rows: Sequence[Sequence[int]], budget: int) -> list[list[int]]:
    """Positions of token rows, grouped into packs of about `budget` computed tokens.

    Rows that begin alike go into one pack, where their common tokens count once. A row longer than the budget has a
    pack of its own. The largest pack comes first, so that memory peaks at once and not after an hour.
    """
    packs: list[tuple[int, list[int]]] = []
    before: Sequence[int] = ()
    for n in sorted(range(len(rows)), key=lambda n: (rows[n], n)):
        alike = shared_prefix(before, rows[n])
        new = len(rows[n]) - (alike if alike >= MIN_SHARED else 0)
        if packs and packs[-1][0] + new <= budget:
            packs[-1] = (packs[-1][0] + new, [*packs[-1][1], n])
        else:
            packs.append((len(rows[n]), [n]))
        before = rows[n]
    return [group for _, group in sorted(packs, key=lambda pack: -pack[0])]


def pack_examples(examples: Sequence[Example], budget: int) -> Iterator[Pack]:
    """The examples as packs of about `budget` tokens."""
    for group in group_into_packs([example.ids for example in examples], budget):
        yield make_pack([examples[n] for n in group])


def make_pack(examples: Sequence[Example]) -> Pack:
    """One pack of all examples. The first token of an example is never a target: no token before it predicts it."""
    import torch

    tree = _Tree([example.ids for example in examples])
    sources, targets, owners = [], [], []
    for at, example in enumerate(examples):
        for n in range(1, len(example.ids)):
            if example.learned[n]:
                sources.append(tree.rows[at][n - 1])
                targets.append(example.ids[n])
                owners.append(at)
    return Pack(
        torch.tensor([tree.ids]),
        torch.tensor([tree.positions]),
        torch.tensor(targets, dtype=torch.long),
        torch.tensor(sources, dtype=torch.long),
        torch.tensor(owners, dtype=torch.long),
        tuple(tree.segments),
        tuple(len(example.ids) for example in examples),
        tuple(example.place for example in examples),
    )


class _Tree:
    """Token rows as a tree of segments; rows that begin alike are branches below a common segment."""

    def __init__(self, examples: Sequence[Sequence[int]]) -> None:
        self.ids: list[int] = []
        self.positions: list[int] = []
        self.segments: list[Segment] = []
        self.rows: list[list[int]] = [[] for _ in examples]
        """The position in the row of each token of each example."""
        self._examples = examples
        self._grow(list(range(len(examples))), 0, ())

    def _grow(self, members: list[int], depth: int, above: tuple[int, ...]) -> None:
        """Add the tokens from `depth` on of examples that are the same up to there."""
        by_beginning: dict[tuple[int, ...], list[int]] = {}
        for member in members:
            by_beginning.setdefault(tuple(self._examples[member][depth : depth + MIN_SHARED]), []).append(member)
        for beginning, alike in by_beginning.items():
            if len(alike) == 1 or len(beginning) < MIN_SHARED:
                for member in alike:
                    self._add([member], depth, len(self._examples[member]), above)
                continue
            first = self._examples[alike[0]]
            end = min(shared_prefix(first, self._examples[member]) for member in alike)
            self._add(alike, depth, end, above)
            self._grow(alike, end, (*above, len(self.segments) - 1))

    def _add(self, members: Sequence[int], begin: int, end: int, above: tuple[int, ...]) -> None:
        if begin == end:
            return
        start = len(self.ids)
        self.ids += self._examples[members[0]][begin:end]
        self.positions += range(begin, end)
        self.segments.append(Segment(end - begin, above))
        for member in members:
            self.rows[member] += range(start, start + end - begin)


_segments: tuple[Segment, ...] = ()
"""The segments of the pack that is being computed. A global, because gradient checkpointing computes the forward pass
again inside of ``backward``, where nothing can be handed over."""


@contextmanager
def packed_attention(model: Any) -> Iterator[None]:
    """Within the block, the attention of the model runs segment by segment; see :func:`hidden_states`."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    AttentionInterface.register(_ATTENTION, _attend)
    AttentionMaskInterface.register(_ATTENTION, lambda *_, **__: None)
    before = model.config._attn_implementation
    model.set_attn_implementation(_ATTENTION)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def hidden_states(model: Any, pack: Pack) -> Any:
    """The last hidden states that predict the learned tokens: (learned, hidden)."""
    body = model.get_base_model() if hasattr(model, "get_base_model") else model
    global _segments
    _segments = pack.segments
    ids, positions = pack.ids.to(body.device), pack.positions.to(body.device)
    hidden = body.model(input_ids=ids, position_ids=positions, use_cache=False).last_hidden_state
    return hidden[0].index_select(0, pack.sources.to(body.device))


def _attend(
    module: Any, query: Any, key: Any, value: Any, attention_mask: Any, scaling: float | None = None,
    dropout: float = 0.0, **options: Any,
) -> tuple[Any, None]:  # fmt: skip
    """Causal attention along each branch of the pack: (1, heads, tokens, size) to (1, tokens, heads, size)."""
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    lengths = [segment.length for segment in _segments]
    longest = max(sum(lengths[n] for n in segment.above) + segment.length for segment in _segments)
    if options.get("softcap") or longest > int(options.get("sliding_window") or longest):
        raise ModelError(
            "the attention of this model has a window shorter than an example, or caps its logits; such models cannot "
            "be trained here"
        )
    common = {"dropout_p": dropout, "scale": scaling, "enable_gqa": key.shape[1] != query.shape[1]}
    queries, keys, values = (each.split(lengths, dim=2) for each in (query, key, value))
    out = []
    for n, segment in enumerate(_segments):
        if not segment.above:
            out.append(scaled_dot_product_attention(queries[n], keys[n], values[n], is_causal=True, **common))
            continue
        seen = (*segment.above, n)
        k, v = (torch.cat([each[at] for at in seen], dim=2) for each in (keys, values))
        above = k.shape[2] - segment.length
        mask = torch.ones(segment.length, k.shape[2], dtype=torch.bool, device=k.device).tril(above)
        out.append(scaled_dot_product_attention(queries[n], k, v, attn_mask=mask, **common))
    return torch.cat(out, dim=2).transpose(1, 2).contiguous(), None
