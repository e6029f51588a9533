"""Is the arithmetic right?"""

from __future__ import annotations

from typing import ClassVar

from llmkit.arithmetic import shown, statements
from llmkit.part import Part
from llmkit.types import State, Verdict


class Calculator(Part):
    """The share of the statements such as ``48 / 2 = 24`` that are true; a rounded result counts as true.

    It sees slips of calculation, not of reasoning: right sums may answer the wrong question.
    """

    family: ClassVar[str] = "verifier"
    type: ClassVar[str] = "calculator"

    needed: bool = True
    """Whether a draft without any statement fails; else it passes."""

    def verify(self, draft: str, state: State) -> Verdict:
        """1 where all are true."""
        found = statements(draft)
        if not found:
            asked = ("Show each step as an equation, such as 3 * 4 = 12.",)
            return Verdict(0.0, asked) if self.needed else Verdict(1.0)
        wrong = [one for one in found if not one.right]
        said = (f"{one.text} is wrong: it is {shown(one.true)}." for one in wrong)
        return Verdict(1 - len(wrong) / len(found), tuple(dict.fromkeys(said)))
