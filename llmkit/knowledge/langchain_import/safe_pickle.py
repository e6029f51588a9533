"""A pickle read as data: the few words that LangChain's docstore needs, and no class is ever looked up.

Opcodes are taken from :func:`pickletools.genops`, which runs nothing. A global name becomes a placeholder, and only if
it is one of a handful; calling anything but the empty constructor of such a placeholder is refused.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from llmkit.errors import KnowledgeError

_DOCSTORES = ("langchain_community.docstore.in_memory", "langchain.docstore.in_memory")
_DOCUMENTS = (
    "langchain_core.documents.base",
    "langchain.schema.document",
    "langchain.schema",
    "langchain.docstore.document",
)
_NAMES = {
    **{(module, "InMemoryDocstore"): "docstore" for module in _DOCSTORES},
    **{(module, "Document"): "document" for module in _DOCUMENTS},
    ("builtins", "set"): "set",
    ("__builtin__", "set"): "set",
}
_NESTED = 500  # open marks; LangChain's own has four, metadata add theirs
_LARGEST = 1 << 30  # bytes of a file
_MARK = object()


@dataclass(slots=True)
class Thing:
    """An object of the pickle: what kind, and its state."""

    kind: str
    """docstore or document."""
    state: dict[Any, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Name:
    kind: str


@dataclass(frozen=True, slots=True)
class _Fields:
    """A set, of which nothing is asked."""


def read_pickle(path: Path) -> Any:
    """The value in a pickle file, of dicts, lists, tuples, strings, numbers and `Thing` s.

    Raises:
        KnowledgeError: it holds anything else, is damaged or too large; says what and at which byte.
    """
    size = path.stat().st_size
    if size > _LARGEST:
        raise KnowledgeError(f"{path} has {size >> 20} MB; a pickle of at most {_LARGEST >> 20} MB is read")
    return _Machine(path).run(path.read_bytes())


class _Machine:
    """A stack and a memo; each opcode that is understood is one method."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stack: list[Any] = []
        self.marks: list[int] = []
        """Where they lie on the stack, so that none is searched for."""
        self.memo: dict[int, Any] = {}
        self.place = 0

    def refuse(self, what: str) -> NoReturn:
        raise KnowledgeError(f"{self.path}, byte {self.place}: {what}. Nothing of it was run, nothing was imported")

    def run(self, data: bytes) -> Any:
        for name, argument in self.opcodes(data):
            if name == "STOP":
                return self.last()
            step = _STEPS.get(name)
            if step is None:
                self.refuse(f"the opcode {name} has no place in a docstore of LangChain's")
            step(self, argument)
            if len(self.marks) > _NESTED:
                self.refuse(f"it is nested more than {_NESTED} deep")
        return self.refuse("the pickle ends in the middle")

    def last(self) -> Any:
        value = self.pop()
        if self.stack:
            self.refuse("the pickle ends with more than one value")
        return value

    def opcodes(self, data: bytes) -> Iterator[tuple[str, Any]]:
        try:
            for opcode, argument, place in pickletools.genops(data):
                self.place = place or 0
                yield opcode.name, argument
        except (ValueError, UnicodeDecodeError, OverflowError, MemoryError) as error:
            self.refuse(f"the pickle is damaged ({error})")

    def pop(self) -> Any:
        if not self.stack or self.stack[-1] is _MARK:
            self.refuse("a value is taken that is not there")
        return self.stack.pop()

    def top(self, kind: type[Any]) -> Any:
        if not self.stack or not isinstance(self.stack[-1], kind):
            self.refuse(f"something is put into what is no {kind.__name__}")
        return self.stack[-1]

    def mark(self) -> None:
        self.marks.append(len(self.stack))
        self.push(_MARK)

    def marked(self) -> list[Any]:
        """What lies above the last mark."""
        if not self.marks:
            self.refuse("a mark is missing")
        at = self.marks.pop()
        values = self.stack[at + 1 :]
        del self.stack[at:]
        return values

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def remember(self, at: int) -> None:
        value = self.pop()
        self.memo[at] = value
        self.push(value)

    def recall(self, at: int) -> None:
        if at not in self.memo:
            self.refuse(f"memo {at} is read before it is written")
        self.push(self.memo[at])

    def name(self, module: Any, word: Any) -> None:
        kind = _NAMES.get((module, word)) if isinstance(module, str) and isinstance(word, str) else None
        if kind is None:
            self.refuse(
                f"it names {str(module)[:80]}.{str(word)[:80]}, which a folder of text and JSON values does not need"
            )
        self.push(_Name(kind))

    def two(self) -> None:
        word = self.pop()
        self.name(self.pop(), word)

    def new(self) -> None:
        arguments, named = self.pop(), self.pop()
        if not isinstance(named, _Name) or arguments != () or named.kind == "set":
            self.refuse("an object is made in a way that LangChain's are not")
        self.push(Thing(named.kind))

    def call(self) -> None:
        """Only a set of names, as older protocols write it."""
        arguments, named = self.pop(), self.pop()
        if not isinstance(named, _Name) or named.kind != "set" or not isinstance(arguments, tuple):
            self.refuse("it calls a function")
        self.push(_Fields())

    def state(self) -> None:
        state = self.pop()
        thing = self.top(Thing)
        if not isinstance(state, dict) or thing.state:
            self.refuse("the state of an object is no mapping, or is given twice")
        thing.state = state

    def put(self, pairs: list[Any]) -> None:
        target = self.top(dict)
        if len(pairs) % 2:
            self.refuse("a key has no value")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            if not isinstance(key, str | int | float | bool | None):
                self.refuse(f"a key is a {type(key).__name__}")
            target[key] = value

    def put_one(self) -> None:
        value = self.pop()
        self.put([self.pop(), value])

    def extend(self, values: list[Any]) -> None:
        self.top(list).extend(values)

    def skip(self) -> None:
        self.marked()
        self.top(_Fields)

    def pack(self, count: int) -> None:
        values = [self.pop() for _ in range(count)]
        self.push(tuple(reversed(values)))


_Step = Callable[[_Machine, Any], None]
_VALUES = (
    "SHORT_BINUNICODE",
    "BINUNICODE",
    "BINUNICODE8",
    "BININT",
    "BININT1",
    "BININT2",
    "LONG1",
    "LONG4",
    "BINFLOAT",
)
_STEPS: dict[str, _Step] = {
    **dict.fromkeys(("PROTO", "FRAME"), lambda _machine, _: None),
    **dict.fromkeys(_VALUES, lambda machine, value: machine.push(value)),
    "NONE": lambda machine, _: machine.push(None),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    "MARK": lambda machine, _: machine.mark(),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "EMPTY_SET": lambda machine, _: machine.push(_Fields()),
    "ADDITEMS": lambda machine, _: machine.skip(),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.marked())),
    "TUPLE1": lambda machine, _: machine.pack(1),
    "TUPLE2": lambda machine, _: machine.pack(2),
    "TUPLE3": lambda machine, _: machine.pack(3),
    "APPEND": lambda machine, _: machine.extend([machine.pop()]),
    "APPENDS": lambda machine, _: machine.extend(machine.marked()),
    "SETITEM": lambda machine, _: machine.put_one(),
    "SETITEMS": lambda machine, _: machine.put(machine.marked()),
    "MEMOIZE": lambda machine, _: machine.remember(len(machine.memo)),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT"), lambda machine, at: machine.remember(at)),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), lambda machine, at: machine.recall(at)),
    "GLOBAL": lambda machine, words: machine.name(*(words.split(" ", 1) if " " in words else (words, ""))),
    "STACK_GLOBAL": lambda machine, _: machine.two(),
    "NEWOBJ": lambda machine, _: machine.new(),
    "REDUCE": lambda machine, _: machine.call(),
    "BUILD": lambda machine, _: machine.state(),
}
