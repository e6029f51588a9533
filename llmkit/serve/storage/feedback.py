"""Feedback on answers, stored as rows of an evaluation data set.

Each caller has one JSONL file, with one row for each rated answer. The fields of a row:

- ``answers`` is present where the right answer is known: after a thumb up the answer itself, after a thumb down the
  user's correction, each without citation marks. A row of a thumb down without a correction has no ``answers``, and a
  task reports that it leaves the row out. An empty list would claim that the documents do not hold the answer.
- ``relevant`` lists the documents that a right answer cites; it is empty for a correction, which cites none.
- ``cited`` lists every document that the rated answer cites, so that forgetting any of them deletes the row.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from llmkit.errors import DataError
from llmkit.evaluation.metrics.normalize import strip_marks
from llmkit.knowledge.verbatim_search import Quotes
from llmkit.serve.json_encoding import encode_json
from llmkit.serve.storage.private_files import make_private_folder, open_private

Row = dict[str, Any]


class FeedbackStore:
    """The feedback of one caller: the latest rating of each answer.

    Args:
        path: the JSONL file; the first rating creates it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()

    def rate(self, trace: Row, rating: str, *, comment: str = "", correction: str = "") -> Row:
        """Store a rating, in place of an earlier one of the same answer; return its row.

        Args:
            trace: the trace of the answer; see :meth:`llmkit.serve.storage.traces.TraceStore.get`.
            rating: ``up`` or ``down``.
            comment: what the user wrote about the answer.
            correction: the right answer, with a thumb down.

        Raises:
            DataError: the file cannot be read or written.
        """
        answer = trace["answer"] or {"text": "", "citations": [], "abstained": True}
        citations = [citation for citation in answer["citations"] if citation["document"]]
        row: Row = {
            "id": trace["id"],
            "question": trace["asked"],
            "history": [{"role": role, "content": content} for role, content in trace["history"]],
            "rating": rating,
            "answer": answer["text"],
            "cited": list(dict.fromkeys(citation["document"] for citation in citations)),
            "pipeline": trace["pipeline"],
            "at": trace["at"],
        }
        if rating == "up":
            right = [] if answer["abstained"] else [strip_marks(answer["text"])]
            supporting = dict.fromkeys(citation["document"] for citation in citations if citation["supported"])
            row |= {"answers": right, "relevant": list(supporting)}
        elif correction:
            row |= {"answers": [strip_marks(correction)], "relevant": []}
        if comment:
            row["comment"] = comment
        with self._lock:
            self._write([*(old for old in self._read() if old["id"] != row["id"]), row])
        return row

    def withdraw(self, trace_id: str) -> bool:
        """Delete the rating of an answer; False where there is none."""
        return self._delete(lambda row: row["id"] == trace_id) > 0

    def rows(self) -> list[Row]:
        """Return every row, oldest rating first."""
        with self._lock:
            return self._read()

    def erase(self, quotes: Quotes) -> int:
        """Delete the rows that quote some documents; return their number."""
        return self._delete(quotes.in_value)

    def _delete(self, matches: Callable[[Row], bool]) -> int:
        with self._lock:
            rows = self._read()
            remaining = [row for row in rows if not matches(row)]
            if len(remaining) < len(rows):
                self._write(remaining)
            return len(rows) - len(remaining)

    def _read(self) -> list[Row]:
        try:
            text = self.path.read_text(encoding="utf-8")
            return [json.loads(line) for line in text.split("\n") if line.strip()]
        except FileNotFoundError:
            return []
        except (OSError, ValueError) as error:
            raise DataError(f"{self.path} cannot be read as rows of feedback: {error}") from error

    def _write(self, rows: list[Row]) -> None:
        draft = self.path.with_suffix(".tmp")
        try:
            make_private_folder(self.path.parent)
            with open_private(draft, "wb") as file:
                file.writelines(encode_json(row) + b"\n" for row in rows)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self.path)
        except OSError as error:
            raise DataError(f"{self.path} cannot be written: {error}") from error
