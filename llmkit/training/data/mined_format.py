"""Examples in llmkit's own file: one JSON object a line, as ``llmkit train mine`` and ``train questions`` write it.

::

    {"query": "…", "answers": ["…"],
     "positives": [{"id": "…", "title": "…", "text": "…", "score": 8.1}],
     "negatives": [{"id": "…", "title": "…", "text": "…", "score": 3.2}]}

``score`` is what a teacher gave the pair; a row has all of them or none.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

from llmkit.errors import DataError
from llmkit.evaluation.tasks import rows
from llmkit.evaluation.tasks.datasets import Documents
from llmkit.evaluation.tasks.rows import BadRow
from llmkit.part import Part
from llmkit.training.data.examples import Example, Passage
from llmkit.training.data.formats import LABELS, Examples, usable

_KEYS = ("query", "answers", "positives", "negatives")


class Mined(Part):
    """JSONL of queries with their positives and negatives."""

    family: ClassVar[str] = "examples"
    type: ClassVar[str] = "mined"

    path: str
    """The file, also with ``.gz``."""

    def examples(self) -> Examples:
        """One a row."""
        path = Path(self.path).expanduser()
        if other := {".csv": "pairs", ".tsv": "pairs", ".json": "squad or dpr"}.get(path.suffix):
            raise DataError(f"{path} is no JSONL of mined examples but data of the type {other}: name that `type`")
        for item in rows.jsonl(path):
            if isinstance(item, BadRow):
                yield item
                continue
            place, row = item
            try:
                yield usable(_read(row, place))
            except DataError as error:
                yield BadRow(place, str(error))
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                yield BadRow(place, f"not a mined example ({type(error).__name__}: {error})")

    def documents(self) -> Documents:
        """None: mined examples come without a corpus."""
        yield from ()


def write(path: Path, examples: Iterable[Example]) -> int:
    """Write examples; the file appears whole or not at all.

    Returns:
        How many.
    """
    made = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    count = 0
    try:
        with made.open("w", encoding="utf-8") as file:
            for example in examples:
                file.write(json.dumps(_row(example), ensure_ascii=False) + "\n")
                count += 1
        made.replace(path)
    finally:
        made.unlink(missing_ok=True)
    return count


def _row(example: Example) -> dict[str, Any]:
    passages: list[dict[str, Any]] = [
        {"id": p.id, "title": p.title, "text": p.text} for p in (*example.positives, *example.negatives)
    ]
    if example.scores:
        passages = [{**row, "score": score} for row, score in zip(passages, example.scores, strict=True)]
    cut = len(example.positives)
    answers = list(example.answers)
    return {"query": example.query, "answers": answers, "positives": passages[:cut], "negatives": passages[cut:]}


def _read(row: dict[str, Any], place: str) -> Example:
    sides = [rows.pick(row, "positives"), row.get("negatives") or []]
    made = [tuple(Passage(str(p["text"]), str(p.get("title") or ""), str(p.get("id") or "")) for p in s) for s in sides]
    scored = [p.get("score") for side in sides for p in side]
    if any(score is None for score in scored) and any(score is not None for score in scored):
        raise DataError("some passages have a score and some have none")
    scores = tuple(float(score) for score in scored if score is not None)
    unread = [name for name, value in row.items() if value and name not in (*_KEYS, *LABELS)]
    remarks = tuple(f"the key {name!r} is not read; mined examples have {', '.join(_KEYS)}" for name in unread)
    answers = rows.texts(row.get("answers"), "answers")
    return Example(str(row["query"]), made[0], made[1], answers, place, scores, remarks)
