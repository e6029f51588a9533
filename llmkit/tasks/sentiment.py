"""A small lexicon of English opinion words, for checking that a text was turned from good to bad or back.

It counts words of two lists, turned round by a negation up to three words before. It is a rule for short reviews
in plain words: irony, comparison and words that are not on the lists are beyond it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from llmkit.errors import DataError
from llmkit.evaluation.metrics.normalize import read_answer
from llmkit.part import Part
from llmkit.pipeline.verifiers import inputs
from llmkit.text.words import words
from llmkit.types import Figure, Sample, Score, State, Verdict

POSITIVE = frozenset(
    """amazing attentive beautiful best bright brilliant calm charming cheap cheerful clean clear clever comfortable
    courteous crisp delicious delight delighted delightful durable easy effortless elegant enjoy enjoyable
    enjoyed excellent exciting fair fantastic fast fine flavourful flawless fresh friendly fun generous gentle
    good gorgeous grateful great gripping happy helpful honest impressed impressive inspiring kind lively love
    loved lovely magnificent memorable neat nice outstanding patient perfect pleasant pleased polite prompt
    punctual quick quiet recommend refreshing relaxing reliable responsive safe satisfied sharp skilled smooth
    spacious sparkling splendid spotless sturdy superb sweet tasty thoughtful thrilling tidy trustworthy useful
    warm welcoming well wonderful worth""".split()
)
NEGATIVE = frozenset(
    """annoyed annoying appalling arrogant avoid awful awkward bad bitter bland blurry bored boring broke broken
    careless chaotic cheaply clumsy cold complained complicated confusing cramped crowded cruel damaged
    dangerous dark delayed difficult dirty disappointed disappointing disappointment disgusting dismal dreadful
    dreary dull expensive failed fails faulty filthy flawed flimsy forgettable frustrating gloomy greasy grim
    harsh hate hated horrible hostile ignored impatient impolite inedible irritating lame late lousy mediocre
    mess messy miserable nasty noisy overcooked overpriced painful poor regret ridiculous rude ruined sad shabby
    slow sluggish smelly soggy sour stale sticky stiff stuck stupid tasteless tedious terrible tired tough ugly
    unbearable uncomfortable unfriendly unhappy unhelpful unpleasant unreliable useless waste wasted weak
    weakest worse worst worthless wrong""".split()
)
_REACH = 3  # words a negation turns round


def polarity(text: str) -> int:
    """Positive words less negative ones; a negated word counts for the other side."""
    found = words(text)
    total = 0
    for n, word in enumerate(found):
        sign = (word.text in POSITIVE) - (word.text in NEGATIVE)
        if any(before.negation for before in found[max(0, n - _REACH) : n]):
            sign = -sign
        total += sign
    return total


def topic(text: str) -> set[str]:
    """Stems of the content words that carry no opinion: what the text is about."""
    opinion = POSITIVE | NEGATIVE
    return {word.stem for word in words(text) if word.content and word.text not in opinion}


def reversal(draft: str, original: str, side: Literal["positive", "negative"]) -> tuple[bool, float, list[str]]:
    """Whether the draft is of that side, the share of the topic that is kept, and the stems that are gone."""
    sign = 1 if side == "positive" else -1
    about = topic(original)
    lost = sorted(about - topic(draft))
    return sign * polarity(draft) > 0, 1 - len(lost) / len(about) if about else 1.0, lost


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
        advice = (
            () if turned else (f"The text must sound {side}: use clearly {side} words, and none of the other side.",)
        )
        if lost:
            advice = (*advice, f"Keep what the text is about; these words are gone: {', '.join(lost)}.")
        return Verdict((turned + kept) / 2, advice)


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
        answer = read_answer(state)
        if isinstance(answer, str):
            return {name: Score.unscored(answer) for name in self.figures()}
        if not isinstance(text, str) or side not in ("positive", "negative"):
            return {name: Score.unscored("the sample has no text or no side") for name in self.figures()}
        turned, kept, _ = reversal(answer.text, text, "positive" if side == "positive" else "negative")
        done = turned and kept >= 0.5
        return {"reversed": Score(float(done)), "turned": Score(float(turned)), "topic_kept": Score(kept)}
