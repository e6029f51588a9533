"""The data of an adapter: the parts of the family ``conversations``, one for each layout that people have on disk.

A row that cannot be used stops the training with its line, and so does a column that would be ignored: data that is
skipped in silence is missed only at the end.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import model_validator

from llmkit import prompts
from llmkit.errors import DataError, LlmkitError, unknown
from llmkit.evaluation.runs.run_folder import RunFolder
from llmkit.evaluation.tasks import rows
from llmkit.evaluation.tasks.rows import BadRow
from llmkit.part import Part
from llmkit.pipeline.steps.answering.prompt_passages import NOT_FOUND, format_passages
from llmkit.training.lora.conversations import (
    ChatTurn,
    Conversation,
    check_turns,
    from_messages,
    parse_tools,
    parse_turns,
)
from llmkit.types import Chunk, Hit, Message

LABELS = ("id", "kind")
"""Columns that name a row; nothing is learned from them."""

_SHOWN = 5  # bad rows in one message
_COLUMNS = (
    ("preferences", {"chosen", "rejected"}),
    ("questions", {"question", "passages", "answer"}),
    ("chat", {"messages"}),
    ("instructions", {"instruction", "output"}),
    ("instructions", {"prompt", "completion"}),
)
_ADVICE = {"functions": "write them as tools", "weight": "a weight belongs to a message"}


class Rows(Part):
    """A JSONL file of conversations."""

    family: ClassVar[str] = "conversations"

    path: str
    """``.jsonl`` or ``.jsonl.gz``."""
    ignore: tuple[str, ...] = ()
    """Columns that are not read. Every other column that the type does not know is an error."""

    def conversations(self) -> Iterator[Conversation]:
        """One for each row.

        Raises:
            DataError: rows that cannot be used; the message shows the first of them with their lines.
        """
        bad: list[str] = []
        count, first = 0, None
        for item in rows.jsonl(Path(self.path).expanduser()):
            if isinstance(item, BadRow):
                bad.append(str(item))
                continue
            place, row = item
            first = row if first is None else first
            try:
                conversation = self.read_row(row, place)
                self._refuse_unknown(row)
            except LlmkitError as error:
                bad.append(f"{place}: {error}")
                continue
            if not bad:
                count += 1
                yield conversation
        if bad:
            more = f"\n  … and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
            hint = _type_hint(first, self.type) if first and not count else ""
            raise DataError(
                f"{self.path}: {len(bad)} rows cannot be used:\n  " + "\n  ".join(bad[:_SHOWN]) + more + hint
            )
        if not count:
            raise DataError(f"{self.path} has no rows")

    def read_row(self, row: dict[str, Any], place: str) -> Conversation:
        """The conversation of one row."""
        raise NotImplementedError

    def columns(self, row: Mapping[str, Any]) -> Collection[str]:
        """The columns that this type reads."""
        raise NotImplementedError

    def _refuse_unknown(self, row: Mapping[str, Any]) -> None:
        known = {*self.columns(row), *LABELS, *self.ignore}
        for name, value in row.items():
            if name not in known and value is not None:
                advice = _ADVICE.get(name, f"if nothing is to be learned from it, add it to `ignore`: [{name}]")
                raise DataError(f"{unknown('column', name, sorted(self.columns(row)))}; {advice}")


class ChatRows(Rows):
    """Conversations: JSONL of ``{"messages": [{"role", "content"}, …]}``, also with ``tools``; an answer is last."""

    type: ClassVar[str] = "chat"

    def columns(self, row: Mapping[str, Any]) -> Collection[str]:
        """The columns that this type reads."""
        return ("messages", "tools")

    def read_row(self, row: dict[str, Any], place: str) -> Conversation:
        """The conversation of one row."""
        return Conversation(parse_turns(row.get("messages"), "messages"), place, tools=parse_tools(row.get("tools")))


class InstructionRows(Rows):
    """Instructions: JSONL of ``{"instruction", "input", "output"}`` or ``{"prompt", "completion"}``."""

    type: ClassVar[str] = "instructions"

    system: str = ""
    """System message of every row that has no column ``system``; empty: none, and the chat template may add its own."""
    instruction: str | None = None
    """Column of the instruction; none: ``instruction`` or ``prompt``, whichever the row has."""
    output: str | None = None
    """Column of the answer; none: ``output`` or ``completion``."""

    def columns(self, row: Mapping[str, Any]) -> Collection[str]:
        """The columns that this type reads."""
        return (self._instruction(row), self._output(row), "input", "system")

    def read_row(self, row: dict[str, Any], place: str) -> Conversation:
        """The conversation of one row."""
        instruction = _text(row, self._instruction(row))
        more = _text(row, "input").strip() if row.get("input") is not None else ""
        system = _text(row, "system") if row.get("system") is not None else self.system
        head = (ChatTurn("system", system),) if system.strip() else ()
        question = ChatTurn("user", f"{instruction}\n\n{more}" if more else instruction)
        answer = ChatTurn("assistant", _text(row, self._output(row)))
        return Conversation(check_turns((*head, question, answer)), place)

    def _instruction(self, row: Mapping[str, Any]) -> str:
        return self.instruction or ("prompt" if "prompt" in row and "instruction" not in row else "instruction")

    def _output(self, row: Mapping[str, Any]) -> str:
        return self.output or ("completion" if "completion" in row and "output" not in row else "output")


class QuestionRows(Rows):
    """Questions with their passages, in the prompt that the answer step shows them in when the model is served.

    JSONL of ``{"question", "passages": [{"title", "text"}, …], "answer"}``. An answer of null becomes the sentence that
    says that the passages do not hold it. Passages are numbered from 1 in their order, and answers cite them as
    ``[n]``.
    """

    type: ClassVar[str] = "questions"

    prompt: Annotated[str, prompts.PromptRef("question", "passages")] = "answer@v1"
    """The prompt of the answer step this is trained for, with the variables ``question`` and ``passages``."""

    def columns(self, row: Mapping[str, Any]) -> Collection[str]:
        """The columns that this type reads."""
        return ("question", "passages", "answer")

    def read_row(self, row: dict[str, Any], place: str) -> Conversation:
        """The conversation of one row."""
        if "answer" not in row:
            raise DataError(unknown("column", "answer", row))
        question = {"question": _text(row, "question"), "passages": number_passages(row.get("passages"))}
        prompt = from_messages(prompts.load(self.prompt).render(question))
        answer = NOT_FOUND if row["answer"] is None else _text(row, "answer")
        return Conversation(check_turns((*prompt, ChatTurn("assistant", answer))), place)


class PreferenceRows(Rows):
    """Pairs of answers: JSONL of ``{"prompt" or "messages", "chosen", "rejected"}``; for ``method: dpo``."""

    type: ClassVar[str] = "preferences"

    def columns(self, row: Mapping[str, Any]) -> Collection[str]:
        """The columns that this type reads."""
        return ("messages" if "messages" in row else "prompt", "chosen", "rejected", "tools")

    def read_row(self, row: dict[str, Any], place: str) -> Conversation:
        """The prompt with the chosen answer as its last turn, and the rejected one beside it."""
        if "messages" in row:
            if not isinstance(row["messages"], list):
                raise DataError("messages: expected a list of {role, content}")
            answer = {"role": "assistant", "content": _text(row, "chosen")}
            turns = parse_turns([*row["messages"], answer], "messages")
        else:
            turns = check_turns((ChatTurn("user", _text(row, "prompt")), ChatTurn("assistant", _text(row, "chosen"))))
        if any(turn.learned is not None for turn in turns):
            raise DataError("messages: a weight has no effect on a preference, which is learned from its last answer")
        rejected = _text(row, "rejected")
        if not rejected.strip() or rejected.split() == turns[-1].content.split():
            raise DataError("rejected: expected another answer than the chosen one")
        return Conversation(turns, place, rejected, parse_tools(row.get("tools")))


class GoodSamples(Part):
    """What a run answered well: the messages of its model and the answer, of the samples with a high enough score."""

    family: ClassVar[str] = "conversations"
    type: ClassVar[str] = "run"

    path: str
    """Folder of the run."""
    figure: str
    """The score that chooses the samples, as in ``f1``; a wrong name is answered with those that the run has."""
    min_score: float = 1.0
    """Lowest score of a sample that is learned."""

    @model_validator(mode="before")
    @classmethod
    def _old_name(cls, values: Any) -> Any:
        if isinstance(values, dict) and "least" in values:
            warnings.warn(
                "least is now called min_score; the old name goes with the next release", DeprecationWarning, 2
            )
            values = dict(values)
            values.setdefault("min_score", values.pop("least"))
        return values

    def conversations(self) -> Iterator[Conversation]:
        """One for each good sample whose trace holds the messages of a model."""
        folder = RunFolder(Path(self.path).expanduser())
        good, known = set(), set()
        for row in folder.scores():
            known |= set(row["scores"])
            if row["scores"].get(self.figure, float("-inf")) >= self.min_score:
                good.add((row["id"], row["repeat"]))
        if self.figure not in known:
            raise DataError(f"{self.path}: {unknown('figure', self.figure, sorted(known))}")
        for trace in folder.traces():
            if (trace["id"], trace["repeat"]) not in good:
                continue
            calls = [record["detail"] for record in trace["state"]["records"] if "messages" in record["detail"]]
            if not calls or not calls[-1].get("raw"):
                continue  # answered without a model
            turns = from_messages([Message(role, content) for role, content in calls[-1]["messages"]])
            place = f"{folder.name}, sample {trace['id']}"
            yield Conversation(check_turns((*turns, ChatTurn("assistant", calls[-1]["raw"]))), place)


def number_passages(passages: Any) -> str:
    """The passages as the answer step shows them.

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
        extra = next((key for key in row if key not in ("title", "text", *LABELS)), None)
        if extra is not None:
            raise DataError(f"passages[{n}]: {unknown('key', extra, ('title', 'text', *LABELS))}")
        title, text = str(row.get("title") or ""), row["text"]
        hits.append(Hit(Chunk("", n, 0, len(text), text, 0, title=title), 0.0))
    return format_passages(hits)


def _text(row: Mapping[str, Any], name: str) -> str:
    """The text of a column.

    Raises:
        DataError: no such column, or no text in it.
    """
    if name not in row:
        raise DataError(unknown("column", name, row))
    if not isinstance(row[name], str):
        raise DataError(f"{name}: expected a text, got {type(row[name]).__name__}")
    return str(row[name])


def _type_hint(row: dict[str, Any], given: str) -> str:
    """What the file may be instead, if no row of it could be used."""
    if "conversations" in row:
        return '\nwrite each turn as {"role": "user" or "assistant", "content": "…"} in a list called messages'
    kind, columns = next((one for one in _COLUMNS if one[1] <= row.keys()), (given, ()))
    return f"\nthese rows have {' and '.join(sorted(columns))}: data of the type {kind}?" if kind != given else ""
