"""When two words count as the same word."""

from __future__ import annotations

from llmkit.text.words import Word

_NUMBERS = {
    **{word: str(n) for n, word in enumerate(
        """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
        seventeen eighteen nineteen twenty""".split()
    )},
    **{word: f"{n}0" for n, word in enumerate("thirty forty fifty sixty seventy eighty ninety".split(), 3)},
    "hundred": "100", "thousand": "1000", "million": "1000000", "billion": "1000000000", "dozen": "12",
}  # fmt: skip


def number_of(word: Word) -> str:
    """The number a word stands for, in digits: ``5`` for `5` and for `five`; empty for every other word."""
    return word.text if word.number else _NUMBERS.get(word.text, "")


def key_of(word: Word) -> str:
    """What two words must share to count as the same word: the number, or else the stem."""
    return number_of(word) or word.stem
