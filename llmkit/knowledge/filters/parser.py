"""The text form of a filter: ``type == "pdf" and (page >= 3 or tags in [a, b]) and not exists draft``."""

from __future__ import annotations

import re
from collections.abc import Iterator

from llmkit.errors import ConfigError, unknown
from llmkit.knowledge.filters.expression import MAX_DEPTH, OPERATORS, Every, Exists, Filter, Not, Scalar, operation

_MAX_LENGTH = 10_000


def parse_text(text: str) -> Filter:
    """A filter from its text.

    Raises:
        ConfigError: says at which column, and what was expected there.
    """
    return _Parser(text).whole()


_TOKEN = re.compile(
    r"""\s*(?:(?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
      | (?P<date>\d{4}-\d{2}(?:-\d{2})?(?:T[\d:.+Z-]*)?)
      | (?P<number>-?\d+(?:\.\d+)?(?![\w.]))
      | (?P<op>==|!=|<=|>=|<|>|\(|\)|\[|\]|,)
      | (?P<word>[^\W\d][\w.\-]*))""",
    re.VERBOSE,
)

_SIGNS = {"&&": "and", "&": "and", "||": "or", "|": "or", "=": "==", "!": "not", "<>": "!="}
"""What other languages write, and what a filter has in its place."""


class _Parser:
    """Recursive descent over the text form: or, and, not, comparisons, parentheses."""

    def __init__(self, text: str) -> None:
        self.text = text
        if len(text) > _MAX_LENGTH:
            raise ConfigError(f"the filter has {len(text)} characters, at most {_MAX_LENGTH} are read")
        self.tokens = list(self._tokens())
        self.at = self.depth = 0

    def _tokens(self) -> Iterator[tuple[str, str, int]]:
        at = 0
        while self.text[at:].strip():
            match = _TOKEN.match(self.text, at)
            if match is None:
                place = at + len(self.text[at:]) - len(self.text[at:].lstrip())
                rest = self.text[place:]
                hint = next((f"; write {word}" for sign, word in _SIGNS.items() if rest.startswith(sign)), "")
                raise ConfigError(f"filter, column {place + 1}: cannot read {rest[:10]!r}{hint}")
            kind = str(match.lastgroup)
            yield kind, match.group(kind), match.start(kind) + 1
            at = match.end()

    def whole(self) -> Filter:
        if not self.tokens:
            raise ConfigError('the filter is empty; write e.g. type == "pdf"')
        found = self.either()
        if self.at < len(self.tokens):
            self.fail("'and', 'or' or the end")
        return found

    def either(self) -> Filter:
        parts = [self.both()]
        while self.take("word", "or"):
            parts.append(self.both())
        return parts[0] if len(parts) == 1 else Every(tuple(parts), any=True)

    def both(self) -> Filter:
        parts = [self.one()]
        while self.take("word", "and"):
            parts.append(self.one())
        return parts[0] if len(parts) == 1 else Every(tuple(parts))

    def one(self) -> Filter:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise ConfigError(f"the filter is nested deeper than {MAX_DEPTH} levels")
        try:
            if self.take("word", "not"):
                return Not(self.one())
            if self.take("op", "("):
                found = self.either()
                if not self.take("op", ")"):
                    self.fail("')'")
                return found
            if self.peek()[1] in ("true", "false") and self.following() not in OPERATORS:
                word = self.peek()[1]
                self.at += 1
                return Every((), any=word == "false")
            if self.take("word", "exists"):
                return Exists(self.field())
            return self.comparison()
        finally:
            self.depth -= 1

    def comparison(self) -> Filter:
        field = self.field()
        kind, word, column = self.peek()
        if word not in OPERATORS or kind == "string":
            hint = unknown("operator", word, OPERATORS) if word else f"expected an operator after {field!r}"
            raise ConfigError(f"filter, column {column}: {hint}")
        self.at += 1
        return operation(field, word, self.items() if word == "in" else self.value())

    def items(self) -> list[Scalar]:
        if not self.take("op", "["):
            self.fail("'['")
        items = [] if self.take("op", "]") else [self.value()]
        if items:
            while self.take("op", ","):
                items.append(self.value())
            if not self.take("op", "]"):
                self.fail("',' or ']'")
        return items

    def field(self) -> str:
        kind, word, _ = self.peek()
        if kind != "word":
            self.fail("the name of a field")
        self.at += 1
        return word

    def value(self) -> Scalar:
        kind, word, _ = self.peek()
        if kind in ("", "op"):
            self.fail("a value")
        self.at += 1
        if kind == "string":
            return re.sub(r"\\(.)", r"\1", word[1:-1])
        if kind == "number":
            return float(word) if "." in word else int(word)
        return {"true": True, "false": False}.get(word, word)

    def peek(self) -> tuple[str, str, int]:
        return self.tokens[self.at] if self.at < len(self.tokens) else ("", "", len(self.text) + 1)

    def following(self) -> str:
        return self.tokens[self.at + 1][1] if self.at + 1 < len(self.tokens) else ""

    def take(self, kind: str, word: str) -> bool:
        if self.peek()[:2] == (kind, word):
            self.at += 1
            return True
        return False

    def fail(self, expected: str) -> None:
        _, word, column = self.peek()
        raise ConfigError(f"filter, column {column}: expected {expected}, got {word or 'the end'!r}")
