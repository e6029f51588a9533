"""Arithmetic without eval: expressions read as a syntax tree of which a short list of nodes is allowed.

::

    value("48 / 2 + 3")                      # Fraction(27, 1)
    statements("48/2 = 24, so 24 + 3 = 28")  # one right, one wrong: 24 + 3 is 27
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from llmkit.errors import DataError

_BINARY: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Mod: operator.mod,
    ast.FloorDiv: lambda a, b: Fraction(a // b),
}
_LONGEST = 200  # characters of an expression
_LARGEST = 10**30
_SIGNS = str.maketrans({"×": "*", "÷": "/", "−": "-", "–": "-", "·": "*"})
_TERM = r"[$€£]?\({0,9}\s?-?\s?[$€£]?\d+(?:,\d{3})*(?:\.\d+)?\s?%?\s?\){0,9}"
_STATEMENT = re.compile(
    rf"(?<![\w.,])(?P<left>{_TERM}(?:\s*(?:[-+*/×÷−–·]|(?<=\s)x(?=\s))\s*{_TERM})+)\s*=\s*"
    r"(?P<right>-?\s*[$€£]?\s?-?\d+(?:,\d{3})*(?:\.\d+)?)(?![\d%]|\s*[-+*/×÷·]\s*\d)"
)


@dataclass(frozen=True, slots=True)
class Statement:
    """``LEFT = RIGHT`` as it stands in a text."""

    text: str
    claimed: Fraction
    true: Fraction
    decimals: int
    """Digits behind the point of what is claimed: it may be rounded to them."""

    @property
    def right(self) -> bool:
        """Equal, or equal when rounded to as many digits as were written."""
        return abs(self.claimed - self.true) <= (Fraction(1, 2 * 10**self.decimals) if self.decimals else 0)


def value(expression: str) -> Fraction:
    """The exact value of ``+ - * / // % **`` over numbers and brackets.

    Raises:
        DataError: something else stands in it, it divides by zero, or it is too long or too large.
    """
    if len(expression) > _LONGEST:
        raise DataError(f"an expression of {len(expression)} characters is longer than {_LONGEST}")
    try:
        tree = ast.parse(expression.strip().translate(_SIGNS), mode="eval")
        return _value(tree.body, expression)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise DataError(f"not an arithmetic expression: {expression[:80]!r}") from error
    except ZeroDivisionError as error:
        raise DataError(f"division by zero: {expression[:80]}") from error


def statements(text: str) -> list[Statement]:
    """Every arithmetic statement of a text, in order; what cannot be read as one is left out."""
    found = []
    for match in _STATEMENT.finditer(text):
        left, right = _plain(match["left"]), _plain(match["right"])
        try:
            true, claimed = value(left), value(right)
        except DataError:
            continue
        decimals = len(right.partition(".")[2])
        found.append(Statement(" ".join(match.group().split()), claimed, true, decimals))
    return found


def shown(number: Fraction) -> str:
    """A number for people: whole, or with at most four digits behind the point."""
    return str(number.numerator) if number.denominator == 1 else f"{float(number):.4f}".rstrip("0")


def _plain(text: str) -> str:
    text = re.sub(r"(?<=\s)x(?=\s)", "*", re.sub(r"[$€£,]", "", text))
    return re.sub(r"(\d+(?:\.\d+)?)\s*%", r"(\1/100)", text)


def _value(node: ast.expr, whole: str) -> Fraction:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        return _bounded(Fraction(str(node.value)), whole)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        inner = _value(node.operand, whole)
        return -inner if isinstance(node.op, ast.USub) else inner
    if isinstance(node, ast.BinOp):
        left, right = _value(node.left, whole), _value(node.right, whole)
        if isinstance(node.op, ast.Pow):
            if right.denominator != 1 or abs(right) > 100:
                raise DataError(f"a power must be whole and at most 100: {whole[:80]}")
            return _bounded(left ** int(right), whole)
        if type(node.op) in _BINARY:
            return _bounded(_BINARY[type(node.op)](left, right), whole)
    raise DataError(f"not allowed in arithmetic: {ast.unparse(node)[:80]!r}")


def _bounded(number: Fraction, whole: str) -> Fraction:
    if abs(number.numerator) > _LARGEST or number.denominator > _LARGEST:
        raise DataError(f"the numbers grow too large: {whole[:80]}")
    return number
