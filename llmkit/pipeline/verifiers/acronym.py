"""Is it an acronym of the title?"""

from __future__ import annotations

from typing import ClassVar

from llmkit.part import Part
from llmkit.pipeline.verifiers import inputs
from llmkit.tasks.acronyms import check
from llmkit.types import State, Verdict


class AcronymForm(Part):
    """Whether the draft is one short, speakable acronym with letters of the title; not whether it is good."""

    family: ClassVar[str] = "verifier"
    type: ClassVar[str] = "acronym"

    input: str = "title"
    """Input with the title."""

    def verify(self, draft: str, state: State) -> Verdict:
        """The mean of four checks."""
        title = " ".join(inputs.texts(state, self.input))
        found = check(draft, title)
        if not found.acronym:
            return Verdict(0.0, ("Reply with one acronym and nothing else.",))
        wrong = [
            (found.short, "It must have two to ten letters."),
            (found.taken, "Its letters must stand in the title in this order, the first one beginning a word."),
            (found.covers == 1, "It should take the first letter of each important word of the title."),
            (found.speakable, "It cannot be spoken: it needs vowels between its consonants."),
        ]
        return Verdict(found.score, tuple(message for holds, message in wrong if not holds))
