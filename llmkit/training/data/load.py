"""Examples read whole, with a count of everything that was left out or looks wrong, and the dev set kept apart."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from llmkit.errors import DataError
from llmkit.evaluation.metrics.normalize import contains
from llmkit.evaluation.tasks.datasets import Documents
from llmkit.evaluation.tasks.rows import BadRow
from llmkit.training.data.examples import Example, Passage, key

Absent = Literal["tell", "drop"]
_SHOWN = 10


@dataclass
class Reading:
    """What a source of training data gave."""

    examples: list[Example]
    bad: list[BadRow] = field(default_factory=list)
    """Rows nothing can be learnt from."""
    duplicates: int = 0
    """Rows whose question came before; their passages were added to the first."""
    absent: list[str] = field(default_factory=list)
    """Places of examples with an answer that none of their positives holds."""
    dropped: int = 0
    """Of those, how many were left out."""
    remarks: Counter[str] = field(default_factory=Counter)
    """What was not used, and in how many rows."""

    @property
    def digest(self) -> str:
        """SHA-256 of the examples, in order."""
        content = hashlib.sha256()
        for one in self.examples:
            passages = [[p.key for p in side] for side in (one.positives, one.negatives)]
            content.update(json.dumps([one.query, passages, one.scores]).encode())
        return content.hexdigest()

    def notes(self) -> list[str]:
        """What the user should know, a line each."""
        told = [f"left out: {one}" for one in self.bad[:_SHOWN]]
        if len(self.bad) > _SHOWN:
            told.append(f"… and {len(self.bad) - _SHOWN} more rows left out")
        if self.duplicates:
            told.append(f"{self.duplicates} rows ask a question that came before: their passages were put together")
        if self.absent:
            what = "left out" if self.dropped else "kept; absent_answers: drop leaves them out"
            shown = ", ".join(self.absent[:3])
            told.append(
                f"{len(self.absent)} examples have an answer that stands in none of their passages ({shown}; {what})"
            )
        told += [f"{count} rows: {remark}" for remark, count in self.remarks.items()]
        return told


def read(rows: Iterable[Example | BadRow], *, absent: Absent = "tell") -> Reading:
    """Read examples; rows with one question become one example.

    Raises:
        DataError: nothing can be learnt from any row; the first reasons are in the message.
    """
    found: dict[str, Example] = {}
    reading = Reading([])
    for row in rows:
        if isinstance(row, BadRow):
            reading.bad.append(row)
            continue
        if row.answers and not any(contains(p.indexed_text, a) for p in row.positives for a in row.answers):
            reading.absent.append(row.place)
            if absent == "drop":
                reading.dropped += 1
                continue
        reading.remarks.update(row.remarks)
        name = key(row.query)
        if name in found:
            reading.duplicates += 1
            row = _joined(found[name], row)
        found[name] = row
    reading.examples = list(found.values())
    if not reading.examples:
        raise DataError("no example to learn from" + "".join(f"\n  {note}" for note in reading.notes()))
    return reading


def refuse_overlap(train: Iterable[Example], dev: Iterable[Example], names: tuple[str, str] = ("train", "dev")) -> None:
    """A dev set with questions of the training set measures memory, not retrieval.

    Args:
        train: one set.
        dev: the other.
        names: of the two, for the message.

    Raises:
        DataError: names the rows of both.
    """
    known = {key(one.query): one.place for one in train}
    same = [(one, known[key(one.query)]) for one in dev if key(one.query) in known]
    if same:
        first, second = names
        lines = [f"  {second} {one.place} = {first} {place}: {one.query[:80]!r}" for one, place in same[:_SHOWN]]
        more = [f"  … and {len(same) - _SHOWN} more"] if len(same) > _SHOWN else []
        head = f"{len(same)} questions of {second} are in {first}, too: take them out of one of the two"
        raise DataError("\n".join([head, *lines, *more]))


def held_out(examples: list[Example], share: float, seed: int) -> tuple[list[Example], list[Example]]:
    """Train and dev parts; questions that share a positive passage stay on one side."""
    group: dict[str, str] = {}

    def root(name: str) -> str:
        while group.setdefault(name, name) != name:
            group[name] = name = group[group[name]]
        return name

    for one in examples:
        for passage in one.positives[1:]:
            group[root(passage.key)] = root(one.positives[0].key)
    groups = sorted({root(one.positives[0].key) for one in examples})
    groups.sort(key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest())
    size: dict[str, int] = {}
    for one in examples:
        size[root(one.positives[0].key)] = size.get(root(one.positives[0].key), 0) + 1
    wanted, taken = round(share * len(examples)), set[str]()
    count = 0
    for name in groups:
        if count >= wanted:
            break
        taken.add(name)
        count += size[name]
    dev = [one for one in examples if root(one.positives[0].key) in taken]
    train = [one for one in examples if root(one.positives[0].key) not in taken]
    if not dev or not train:
        raise DataError(
            f"dev_share {share} of {len(examples)} examples leaves one side empty: give a dev set of its own"
        )
    return train, dev


def _joined(first: Example, second: Example) -> Example:
    positives = {p.key: p for p in (*first.positives, *second.positives)}
    negatives = {p.key: p for p in (*first.negatives, *second.negatives) if p.key not in positives}
    answers = tuple(dict.fromkeys((*first.answers, *second.answers)))
    scored: dict[str, float] = {}
    for one in (first, second):
        if not one.scores:
            scored = {}
            break
        scored |= {p.key: s for p, s in zip((*one.positives, *one.negatives), one.scores, strict=True)}
    scores = tuple(scored[name] for name in (*positives, *negatives)) if scored else ()
    return Example(first.query, tuple(positives.values()), tuple(negatives.values()), answers, first.place, scores)


def passages(documents: Documents) -> list[Passage]:
    """The corpus of a source; bad rows have been told with the examples."""
    return [Passage(one.text, one.title, one.id) for one in documents if not isinstance(one, BadRow)]
