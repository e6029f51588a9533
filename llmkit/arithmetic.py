"""Arithmetic without eval: an expression is parsed into a syntax tree, and only a few kinds of nodes are evaluated.

::

    value("48 / 2 + 3")                      # Fraction(27, 1)
    statements("48/2 = 24, so 24 + 3 = 28")  # the first is right, the second wrong: 24 + 3 is 27
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
_LEFT = re.compile(r"[-+*/×÷−–·()\d\s.,$€£%x]*\Z")  # the characters of an expression
_RIGHT = re.compile(r"\s{0,3}(-?\s?[$€£]?\s?-?\d+(?:,\d{3})*(?:\.\d+)?)(?![\d%]|\s{0,3}[-+*/×÷·]\s{0,3}\d)")
_OPERATOR = re.compile(r"[\d)%]\s*[-+*/×÷−–·x]\s*[-$€£(]*\d")


@dataclass(frozen=True, slots=True)
class Statement:
    """An equation ``LEFT = RIGHT`` found in a text."""

    text: str
    claimed: Fraction
    true: Fraction
    decimals: int
    """Number of decimals of the claimed value; the true value may be rounded to them."""

    @property
    def right(self) -> bool:
        """Whether both sides are equal, or equal when rounded to the decimals of the claimed value."""
        return abs(self.claimed - self.true) <= (Fraction(1, 2 * 10**self.decimals) if self.decimals else 0)


def value(expression: str) -> Fraction:
    """The exact value of an expression of numbers, brackets and ``+ - * / // % **``.

    Raises:
        DataError: the expression holds anything else, divides by zero, is too long, or its numbers grow too large.
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
    """The equations of a text, in order. An equals sign without a readable expression on both sides is skipped.

    Equations with variables (``x + 2 = 7``) and with an expression on the right (``3 + 4 = 7 + 1``) are skipped, too.
    """
    found = []
    for sign in re.finditer("=", text):
        right = _RIGHT.match(text, sign.end())
        left = _expression(text, sign.start())
        if right is None or left is None:
            continue
        claimed = _plain(right[1]).replace(" ", "")
        try:
            true, stated = value(_plain(left)), value(claimed)
        except DataError:
            continue
        whole = " ".join(f"{left} = {right[1].strip()}".split())
        found.append(Statement(whole, stated, true, len(claimed.partition(".")[2])))
    return found


def _expression(text: str, end: int) -> str | None:
    """The longest expression that ends at `end`; None if there is none, or if it has a variable."""
    near = text[max(0, end - _LONGEST) : end]
    run = _LEFT.search(near)
    assert run is not None
    before = near[: run.start()][-1:]
    candidate = re.split(r"[.,]\s+", run.group())[-1]
    if candidate == run.group() and before.isalnum():
        candidate = candidate.lstrip("x") if candidate[:1] == "x" else candidate
        if candidate[:1] and not candidate[:1].isspace():
            return None  # "a3 + 4", "n*2"
    candidate = candidate.strip(" \t\n.,")
    for _ in range(6):  # "Step 1 48 / 2": what stands before is no part of it
        if not _OPERATOR.search(candidate) or re.match(r"[+*/×÷·x]|[-−–]\s", candidate):
            return None
        try:
            value(_plain(candidate))
        except DataError:
            first, space, candidate = candidate.partition(" ")
            if not space or not first[-1:].isdigit():
                return None
            continue
        return candidate
    return None


def format_number(number: Fraction) -> str:
    """A number as text: whole, or with at most four decimals."""
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
