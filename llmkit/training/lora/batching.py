"""The order of the examples: a new one for each epoch, with examples that begin alike next to one another."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from llmkit.training.lora.packing import shared_prefix


def epoch_batches(rows: Sequence[Any], size: int, seed: int, epoch: int) -> list[list[Any]]:
    """All rows in batches of `size`; the last one may be smaller.

    Rows about the same passages come one after another, so that a step reads the passages once for all of them.

    Args:
        rows: examples with ``ids``, their tokens.
        size: rows of a batch.
        seed: of the recipe.
        epoch: from 0; each has its own order, which depends on nothing else.
    """
    groups = group_by_prefix([row.ids for row in rows])
    order = shuffle_groups(groups, max(1, size // 4), random.Random(f"{seed} {epoch}"))  # noqa: S311
    return [[rows[n] for n in order[at : at + size]] for at in range(0, len(order), size)]


def group_by_prefix(rows: Sequence[Sequence[int]]) -> list[list[int]]:
    """Positions of token rows, grouped where neighbours share at least half of the shorter one."""
    groups: list[list[int]] = []
    for n in sorted(range(len(rows)), key=lambda n: (rows[n], n)):
        before = rows[groups[-1][-1]] if groups else ()
        if groups and 2 * shared_prefix(before, rows[n]) > min(len(before), len(rows[n])):
            groups[-1].append(n)
        else:
            groups.append([n])
    return groups


def shuffle_groups(groups: Sequence[Sequence[int]], max_together: int, rng: random.Random) -> list[int]:
    """A random order in which members of a group stay together, at most `max_together` of them at a time."""
    parts = []
    for group in groups:
        members = list(group)
        rng.shuffle(members)
        parts += [members[at : at + max_together] for at in range(0, len(members), max_together)]
    rng.shuffle(parts)
    return [n for part in parts for n in part]
