"""A small lexicon of English opinion words, for checking that a text was turned from good to bad or back.

It counts words of two lists, turned round by a negation up to three words before. It is a rule for short reviews
in plain words: irony, comparison and words that are not on the lists are beyond it.
"""

from __future__ import annotations

from llmkit.text.words import words

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
