"""Short texts whose form a rule can check: acronyms, and a feeling turned round."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from llmkit.part import Part
from llmkit.pipeline.verifiers.sentiment import reversal
from llmkit.tasks.acronyms import check
from llmkit.types import Figure, Sample, Score, State


class AcronymScore(Part):
    """Whether the answer is one short, speakable acronym whose letters come from the title. Taste is not measured."""

    family: ClassVar[str] = "metric"
    type: ClassVar[str] = "acronym"

    field: str = "title"
    """Column with the title."""

    def figures(self) -> Mapping[str, Figure]:
        """acronym, acronym_taken, acronym_known."""
        return {
            "acronym": Figure("Mean of four checks: short, letters in order, initials covered, speakable"),
            "acronym_taken": Figure("Answers that are one acronym whose letters stand in the title in this order"),
            "acronym_known": Figure("Answers that are the acronym in use, one of many good ones"),
        }

    def score(self, sample: Sample, state: State) -> Mapping[str, Score]:
        """Unscored where the sample has no title."""
        title = sample.fields.get(self.field)
        if state.answer is None or not isinstance(title, str) or not title.strip():
            return {name: Score.unscored(f"no answer, or no text {self.field!r}") for name in self.figures()}
        found = check(state.answer.text, title)
        scores = {"acronym": Score(found.score), "acronym_taken": Score(float(found.taken))}
        if sample.answers:
            known = {answer.upper().replace(".", "") for answer in sample.answers}
            scores["acronym_known"] = Score(float(found.acronym in known))
        return scores


class SentimentScore(Part):
    """Whether opinion words of a small lexicon are of the wanted side, and how much of the topic's words is kept."""

    family: ClassVar[str] = "metric"
    type: ClassVar[str] = "sentiment"

    text: str = "text"
    """Column with the text that was to be rewritten."""
    wanted: str = "wanted"
    """Column that says ``positive`` or ``negative``."""

    def figures(self) -> Mapping[str, Figure]:
        """reversed, turned, topic_kept."""
        return {
            "reversed": Figure(
                "Texts with more opinion words of the wanted side than of the other, half the topic kept"
            ),
            "turned": Figure("Texts with more opinion words of the wanted side than of the other"),
            "topic_kept": Figure("Content words without opinion that are still there"),
        }

    def score(self, sample: Sample, state: State) -> Mapping[str, Score]:
        """Unscored where the sample has no text or no side."""
        text, side = sample.fields.get(self.text), sample.fields.get(self.wanted)
        if state.answer is None or not isinstance(text, str) or side not in ("positive", "negative"):
            return {name: Score.unscored("no answer, no text, or no side") for name in self.figures()}
        turned, kept, _ = reversal(state.answer.text, text, "positive" if side == "positive" else "negative")
        done = turned and kept >= 0.5
        return {"reversed": Score(float(done)), "turned": Score(float(turned)), "topic_kept": Score(kept)}
