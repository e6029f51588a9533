"""Token sequences of a cross-encoder: question and passage in one sequence, a long passage in several windows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmkit.encoders.runtime.runtimes import Batch
from llmkit.errors import ModelError

Tokens = list[int]


@dataclass(frozen=True, slots=True)
class PairSequences:
    """Inputs of the graph for some pairs."""

    ids: list[Tokens]
    types: list[Tokens]
    """Token types from the tokenizer's template: in BERT 0 for the question and 1 for the passage."""
    pair: NDArray[np.int64]
    """(sequences,): number of the pair that each sequence belongs to."""
    windowed: int
    """Number of pairs that are read in more than one window."""
    cut: int
    """Number of pairs that are truncated."""


class PairTokenizer:
    """Tokenizes each text once, even if it is part of several pairs, and adds the special tokens of the template."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    @cached_property
    def template(self) -> tuple[list[tuple[int, int]], ...]:
        """(id, type) of the special tokens before, between and after the two texts, and the types of the two."""
        both = self.tokenizer.encode("a", "a")
        sides = both.sequence_ids
        if 0 not in sides or 1 not in sides:
            raise ModelError("the tokenizer's template does not put two texts into one sequence")
        one, two = sides.index(0), sides.index(1)
        last = len(sides) - 1 - sides[::-1].index(1)
        cells = list(zip(both.ids, both.type_ids, strict=True))
        between = [cell for cell, side in zip(cells[one:two], sides[one:two], strict=True) if side is None]
        return cells[:one], between, cells[last + 1 :], [(0, both.type_ids[one]), (0, both.type_ids[two])]

    @cached_property
    def special_tokens(self) -> int:
        """Number of special tokens in a pair."""
        return sum(len(part) for part in self.template[:3])

    def sequences(
        self, queries: Sequence[str], passages: Sequence[str], max_tokens: int, windows: bool
    ) -> PairSequences:
        """Make the sequences of each (query, passage).

        The query gets at most half of the tokens, the passage gets the rest. With `windows`, a passage that is too long
        is read in windows that overlap by a quarter; without, only its beginning is read.
        """
        before, between, after, (kind, other) = self.template
        room = max_tokens - self.special_tokens
        tokens = self._tokens([*queries, *passages])
        ids: list[Tokens] = []
        types: list[Tokens] = []
        pair: list[int] = []
        windowed = cut = 0
        for at, (query, passage) in enumerate(zip(queries, passages, strict=True)):
            question, text = tokens[query], tokens[passage]
            lost = len(question) > room // 2
            question = question[: room // 2]
            width = room - len(question)
            starts = [0]
            if len(text) > width:
                lost |= not windows
                windowed += windows
                if windows:
                    step = max(1, width * 3 // 4)
                    starts = [*range(0, len(text) - width, step), len(text) - width]
            cut += lost
            for start in starts:
                piece = text[start : start + width]
                ids.append([i for i, _ in before] + question + [i for i, _ in between] + piece + [i for i, _ in after])
                types.append(
                    [t for _, t in before]
                    + [kind[1]] * len(question)
                    + [t for _, t in between]
                    + [other[1]] * len(piece)
                    + [t for _, t in after]
                )
                pair.append(at)
        return PairSequences(ids, types, np.array(pair, dtype=np.int64), windowed, cut)

    def _tokens(self, texts: Sequence[str]) -> dict[str, Tokens]:
        unique = list(dict.fromkeys(texts))
        encoded = self.tokenizer.encode_batch_fast(unique, add_special_tokens=False)
        return {text: one.ids for text, one in zip(unique, encoded, strict=True)}


def with_token_types(work: Iterator[Batch], types: Sequence[Tokens]) -> Iterator[Batch]:
    """Add token types to batches of token ids and masks."""
    for rows, tokens, mask in work:
        kinds = np.zeros_like(tokens)
        for i, row in enumerate(rows):
            kinds[i, : len(types[row])] = types[row]
        yield rows, tokens, mask, kinds
