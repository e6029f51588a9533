"""Was the feeling of a text turned round, and nothing else?"""

from __future__ import annotations

from typing import ClassVar, Literal

from llmkit.errors import DataError
from llmkit.part import Part
from llmkit.pipeline.verifiers import inputs
from llmkit.tasks.sentiment import polarity, topic
from llmkit.types import State, Verdict


class SentimentReversed(Part):
    """Whether the draft's opinion words are of the wanted side, and what the text is about is still there."""

    family: ClassVar[str] = "verifier"
    type: ClassVar[str] = "sentiment"

    text: str = "text"
    """Input with the text that is rewritten."""
    wanted: str = "wanted"
    """Input that says ``positive`` or ``negative``."""

    def verify(self, draft: str, state: State) -> Verdict:
        """Half for the side, half for the share of the topic's words that are kept."""
        (original,) = inputs.texts(state, self.text)[:1]
        side = inputs.texts(state, self.wanted)[0]
        if side not in ("positive", "negative"):
            raise DataError(f"the input {self.wanted!r} must be positive or negative, not {side!r}")
        turned, kept, lost = reversal(draft, original, "positive" if side == "positive" else "negative")
        said = () if turned else (f"The text must sound {side}: use clearly {side} words, and none of the other side.",)
        if lost:
            said = (*said, f"Keep what the text is about; these words are gone: {', '.join(lost)}.")
        return Verdict((turned + kept) / 2, said)


def reversal(draft: str, original: str, side: Literal["positive", "negative"]) -> tuple[bool, float, list[str]]:
    """Whether the draft is of that side, the share of the topic that is kept, and the stems that are gone."""
    sign = 1 if side == "positive" else -1
    about = topic(original)
    lost = sorted(about - topic(draft))
    return sign * polarity(draft) > 0, 1 - len(lost) / len(about) if about else 1.0, lost
