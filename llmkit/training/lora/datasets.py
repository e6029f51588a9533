"""What a chat model learns from: conversations whose answers it shall give.

Each kind of data is a part of the family ``conversations`` and reads one layout that people have on disk. A row that
cannot be used stops the training with its place: what is skipped in silence is missed at the end.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field

from llmkit import prompts
from llmkit.errors import DataError, LlmkitError, unknown
from llmkit.evaluation.runs.run_folder import RunFolder
from llmkit.evaluation.tasks import rows
from llmkit.evaluation.tasks.rows import BadRow
from llmkit.part import Part
from llmkit.pipeline.steps.answering.prompt_passages import NOT_FOUND, format_passages
from llmkit.types import Chunk, Hit, Message

ROLES = ("system", "user", "assistant")
_SHOWN = 5  # bad rows told in one error
_COLUMNS = (
    ("preferences", {"chosen", "rejected"}),
    ("questions", {"question", "passages", "answer"}),
    ("chat", {"messages"}),
    ("instructions", {"instruction", "output"}),
    ("instructions", {"prompt", "completion"}),
)


@dataclass(frozen=True, slots=True)
class Conversation:
    """Turns that end in the answer to be learned."""

    turns: tuple[Message, ...]
    place: str
    """File and line, for messages."""
    rejected: str = ""
    """An answer that the last turn is preferred to; only of preferences."""

    @property
    def prompt_digest(self) -> str:
        """SHA-256 of everything before the last answer, white space and case aside."""
        said = [[turn.role, " ".join(turn.content.split()).casefold()] for turn in self.turns[:-1]]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()


class ChatRows(Part):
    """Conversations: JSONL of ``{"messages": [{"role", "content"}, …]}``; the last turn is the assistant's."""

    family: ClassVar[str] = "conversations"
    type: ClassVar[str] = "chat"

    path: str
    """``.jsonl`` or ``.jsonl.gz``."""

    def conversations(self) -> Iterator[Conversation]:
        """One a row."""
        yield from _rows(self.path, self.type, lambda row: turns_of(row.get("messages"), "messages"))


class InstructionRows(Part):
    """Instructions: JSONL of ``{"instruction", "input", "output"}`` or ``{"prompt", "completion"}``."""

    family: ClassVar[str] = "conversations"
    type: ClassVar[str] = "instructions"

    path: str
    """``.jsonl`` or ``.jsonl.gz``."""
    system: str = ""
    """System message of every row; empty: none is given, and the chat template may put its own."""
    instruction: str | None = None
    """Column of what is asked; none: ``instruction`` or ``prompt``, whichever the row has."""
    output: str | None = None
    """Column of the answer; none: ``output`` or ``completion``."""

    def conversations(self) -> Iterator[Conversation]:
        """One a row."""
        yield from _rows(self.path, self.type, self._turns)

    def _turns(self, row: dict[str, Any]) -> tuple[Message, ...]:
        asked = _column(row, self.instruction, ("instruction", "prompt"))
        more = row.get("input")
        if self.instruction is None and isinstance(more, str) and more.strip():
            asked = f"{asked}\n\n{more.strip()}"
        head = (Message("system", self.system),) if self.system else ()
        answer = _column(row, self.output, ("output", "completion"))
        return checked((*head, Message("user", asked), Message("assistant", answer)))


class QuestionRows(Part):
    """Questions with their passages, shown by the prompt that serving shows them by.

    JSONL of ``{"question", "passages": [{"title", "text"}, …], "answer"}``; an answer of null is the sentence that
    says the passages do not hold it. Passages are numbered from 1 as they stand; the answer cites them as ``[n]``.
    """

    family: ClassVar[str] = "conversations"
    type: ClassVar[str] = "questions"

    path: str
    """``.jsonl`` or ``.jsonl.gz``."""
    prompt: Annotated[str, prompts.PromptRef("question", "passages")] = "answer@v1"
    """The prompt of the answer step this is trained for, with the variables ``question`` and ``passages``."""

    def conversations(self) -> Iterator[Conversation]:
        """One a row."""
        prompt = prompts.load(self.prompt)

        def turns(row: dict[str, Any]) -> tuple[Message, ...]:
            if "answer" not in row:
                raise DataError(unknown("column", "answer", row))
            answer = NOT_FOUND if row["answer"] is None else row["answer"]
            asked = prompt.render({"question": _column(row, "question", ()), "passages": shown(row.get("passages"))})
            return checked((*asked, Message("assistant", answer)))

        yield from _rows(self.path, self.type, turns)


class PreferenceRows(Part):
    """Pairs of answers: JSONL of ``{"prompt" or "messages", "chosen", "rejected"}``; for ``method: dpo``."""

    family: ClassVar[str] = "conversations"
    type: ClassVar[str] = "preferences"

    path: str
    """``.jsonl`` or ``.jsonl.gz``."""

    def conversations(self) -> Iterator[Conversation]:
        """One a row: the chosen answer as its last turn, the other beside it."""
        rejected: list[str] = []

        def turns(row: dict[str, Any]) -> tuple[Message, ...]:
            if "messages" in row:
                answer = {"role": "assistant", "content": _column(row, "chosen", ())}
                asked = turns_of([*(row["messages"] or ()), answer], "messages")
            else:
                asked = (Message("user", _column(row, "prompt", ())), Message("assistant", _column(row, "chosen", ())))
            other = _column(row, "rejected", ())
            if not other.strip() or other.strip() == asked[-1].content.strip():
                raise DataError("rejected: expected another answer than the chosen one")
            rejected.append(other)
            return checked(asked)

        for conversation in _rows(self.path, self.type, turns):
            yield replace(conversation, rejected=rejected[-1])


class GoodSamples(Part):
    """What a run answered well: the messages its model was sent, and the answer, where a figure reached a threshold."""

    family: ClassVar[str] = "conversations"
    type: ClassVar[str] = "run"

    path: str
    """Folder of the run."""
    figure: str
    """The figure the samples are chosen by, as in ``answer.f1``."""
    least: float = Field(default=1.0)
    """Least value of it."""

    def conversations(self) -> Iterator[Conversation]:
        """One a good sample whose trace holds what was asked and said."""
        folder = RunFolder(Path(self.path).expanduser())
        good, known = set(), set()
        for row in folder.scores():
            known |= set(row["scores"])
            if row["scores"].get(self.figure, float("-inf")) >= self.least:
                good.add((row["id"], row["repeat"]))
        if self.figure not in known:
            raise DataError(f"{self.path}: {unknown('figure', self.figure, sorted(known))}")
        for trace in folder.traces():
            if (trace["id"], trace["repeat"]) not in good:
                continue
            asked = [record["detail"] for record in trace["state"]["records"] if "messages" in record["detail"]]
            if not asked or not asked[-1].get("raw"):
                continue  # answered without a model
            turns = [Message(role, content) for role, content in asked[-1]["messages"]]
            place = f"{folder.name}, sample {trace['id']}"
            yield Conversation(checked((*turns, Message("assistant", asked[-1]["raw"]))), place)


def shown(passages: Any) -> str:
    """Passages as the answer step shows them.

    Raises:
        DataError: not a list of texts or of ``{"title", "text"}``.
    """
    if not isinstance(passages, list) or not passages:
        raise DataError("passages: expected a list of texts or of {title, text}, at least one")
    hits = []
    for n, passage in enumerate(passages):
        row = {"text": passage} if isinstance(passage, str) else passage
        if not isinstance(row, dict) or not isinstance(row.get("text"), str):
            raise DataError(f"passages[{n}]: expected a text, or an object with 'text'")
        title, text = str(row.get("title") or ""), row["text"]
        hits.append(Hit(Chunk("", n, 0, len(text), text, 0, title=title), 0.0))
    return format_passages(hits)


def turns_of(value: Any, column: str) -> tuple[Message, ...]:
    """The turns of a row's column.

    Raises:
        DataError: not turns, an unknown role, an empty turn, or no answer at the end.
    """
    if not isinstance(value, list) or not value:
        raise DataError(f"{column}: expected a list of {{role, content}}")
    turns = []
    for n, turn in enumerate(value):
        if not isinstance(turn, dict) or not isinstance(turn.get("content"), str):
            raise DataError(f"{column}[{n}]: expected an object with 'role' and a text 'content'")
        if turn.get("role") not in ROLES:
            raise DataError(f"{column}[{n}]: {unknown('role', str(turn.get('role')), ROLES)}")
        turns.append(Message(turn["role"], turn["content"]))
    return checked(tuple(turns))


def checked(turns: tuple[Message, ...]) -> tuple[Message, ...]:
    """The turns themselves.

    Raises:
        DataError: they do not end in an answer, or one of them is empty.
    """
    if not turns or turns[-1].role != "assistant":
        raise DataError("the last turn must be the assistant's: it is what is learned")
    for n, turn in enumerate(turns):
        if not isinstance(turn.content, str):
            raise DataError(f"turn {n + 1} ({turn.role}): expected a text, got {type(turn.content).__name__}")
        if not turn.content.strip():
            what = "the answer is empty" if n == len(turns) - 1 else f"turn {n + 1} ({turn.role}) is empty"
            raise DataError(what)
    if all(turn.role != "user" for turn in turns):
        raise DataError("no turn of the user's: there is nothing to answer")
    return turns


def _column(row: dict[str, Any], name: str | None, either: tuple[str, ...]) -> str:
    name = name or next((one for one in either if one in row), either[0] if either else "")
    if name not in row:
        raise DataError(unknown("column", name, row))
    if not isinstance(row[name], str):
        raise DataError(f"{name}: expected a text, got {type(row[name]).__name__}")
    return str(row[name])


def _looks_like(row: dict[str, Any], given: str) -> str:
    """What else a file may be, of which no row could be used."""
    if "conversations" in row:
        return '\nwrite each turn as {"role": "user" or "assistant", "content": "…"} in a list called messages'
    kind, columns = next((one for one in _COLUMNS if one[1] <= row.keys()), (given, ()))
    return f"\nthese rows have {' and '.join(sorted(columns))}: data of the type {kind}?" if kind != given else ""


def _rows(path: str, kind: str, turns: Any) -> Iterator[Conversation]:
    """Conversations of a file.

    Raises:
        DataError: rows that cannot be used, the first of them with their lines.
    """
    bad: list[str] = []
    count, first = 0, None
    for item in rows.jsonl(Path(path).expanduser()):
        if isinstance(item, BadRow):
            bad.append(str(item))
            continue
        place, row = item
        first = row if first is None else first
        try:
            conversation = Conversation(turns(row), place)
        except LlmkitError as error:
            bad.append(f"{place}: {error}")
            continue
        if not bad:
            count += 1
            yield conversation
    if bad:
        more = f"\n  … and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
        hint = _looks_like(first, kind) if first and not count else ""
        raise DataError(f"{path}: {len(bad)} rows cannot be used:\n  " + "\n  ".join(bad[:_SHOWN]) + more + hint)
    if not count:
        raise DataError(f"{path} has no rows")
