"""Thumbs, as rows of an eval data set.

One JSONL file a caller, one row an answer that was rated. ``answers`` is there where the right answer is known: the
answer itself after a thumb up, the correction after a thumb down, without citation marks, which are no words of it.
Without one the row has no ``answers``, and a task tells that it leaves the row out; an empty list would claim that the
documents hold no answer. ``relevant`` has the documents a right answer cites; of a correction none are known.
``cited`` has all that the rated answer cites, so that the row goes with any of them that is forgotten.
"""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

from llmkit.errors import DataError
from llmkit.evaluation.metrics.normalize import strip_marks
from llmkit.knowledge.verbatim_search import Quotes

Row = dict[str, Any]


class Ratings:
    """The ratings of one caller, the last one of each answer."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()

    def rate(self, trace: Row, rating: str, *, comment: str = "", correction: str = "") -> Row:
        """Rate the answer of a trace, again or for the first time; returns the row.

        Raises:
            DataError: the file cannot be read or written.
        """
        answer = trace["answer"] or {"text": "", "citations": [], "abstained": True}
        cited = [one for one in answer["citations"] if one["document"]]
        row: Row = {
            "id": trace["id"],
            "question": trace["asked"],
            "history": [{"role": role, "content": content} for role, content in trace["history"]],
            "rating": rating,
            "answer": answer["text"],
            "cited": list(dict.fromkeys(one["document"] for one in cited)),
            "pipeline": trace["pipeline"],
            "at": trace["at"],
        }
        if rating == "up":
            right = [] if answer["abstained"] else [strip_marks(answer["text"])]
            supporting = dict.fromkeys(one["document"] for one in cited if one["supported"])
            row |= {"answers": right, "relevant": list(supporting)}
        elif correction:
            row |= {"answers": [strip_marks(correction)], "relevant": []}
        if comment:
            row["comment"] = comment
        with self._lock:
            self._write([*(old for old in self._read() if old["id"] != row["id"]), row])
        return row

    def withdraw(self, name: str) -> bool:
        """Take a rating back; False where there is none."""
        with self._lock:
            rows = self._read()
            left = [row for row in rows if row["id"] != name]
            if len(left) < len(rows):
                self._write(left)
            return len(left) < len(rows)

    def rows(self) -> list[Row]:
        """Every row, oldest rating first."""
        with self._lock:
            return self._read()

    def erase(self, quotes: Quotes) -> int:
        """Delete the rows that quote some documents; returns how many."""
        with self._lock:
            rows = self._read()
            left = [row for row in rows if not quotes.in_value(row)]
            if len(left) < len(rows):
                self._write(left)
            return len(rows) - len(left)

    def _read(self) -> list[Row]:
        try:
            text = self.path.read_text(encoding="utf-8")
            return [json.loads(line) for line in text.split("\n") if line.strip()]
        except FileNotFoundError:
            return []
        except (OSError, ValueError) as error:
            raise DataError(f"{self.path} cannot be read as ratings: {error}") from error

    def _write(self, rows: list[Row]) -> None:
        draft = self.path.with_suffix(".tmp")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with draft.open("w", encoding="utf-8") as file:
                file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self.path)
        except OSError as error:
            raise DataError(f"{self.path} cannot be written: {error}") from error
