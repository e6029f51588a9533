"""Verifier ``calculator``: whether the arithmetic in a draft is right."""

from __future__ import annotations

from typing import ClassVar

from llmkit.arithmetic import format_number, statements
from llmkit.part import Part
from llmkit.types import State, Verdict


class Calculator(Part):
    """Scores the share of statements such as ``48 / 2 = 24`` that are true. A rounded result counts as true.

    It finds errors of calculation, not of reasoning: correct sums may answer the wrong question.
    """

    family: ClassVar[str] = "verifier"
    type: ClassVar[str] = "calculator"

    needed: bool = True
    """Whether a draft without such a statement fails; otherwise it passes."""

    def verify(self, draft: str, state: State) -> Verdict:
        """Score 1 where all statements are true."""
        found = statements(draft)
        if not found:
            asked = ("Show each step as an equation, such as 3 * 4 = 12.",)
            return Verdict(0.0, asked) if self.needed else Verdict(1.0)
        wrong = [one for one in found if not one.right]
        messages = (f"{one.text} is wrong: it is {format_number(one.true)}." for one in wrong)
        return Verdict(1 - len(wrong) / len(found), tuple(dict.fromkeys(messages)))
