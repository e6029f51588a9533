"""Edits of an instruction that need no model: drop, swap, move, rephrase, add. Sentences with a variable stay."""

from __future__ import annotations

import random
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from llmkit.experiments.optimise.candidates import Candidate, escape_template
from llmkit.text.sentences import sentences

PHRASES = (
    "Think step by step before you answer.",
    "Reply with the answer alone.",
    "Be brief.",
    "Read the question twice before you answer.",
    "Check your answer before you reply.",
)
REPHRASED: Mapping[str, tuple[str, ...]] = {
    "Reply with": ("Answer with", "Give"),
    "Use only": ("Rely only on",),
    "Do not": ("Never",),
    "step by step": ("one step at a time",),
}


@dataclass(frozen=True)
class Editor:
    """Makes edited candidates, the same ones for the same seed."""

    phrases: Sequence[str] = PHRASES
    """Sentences that may be added."""
    rephrased: Mapping[str, Sequence[str]] = field(default_factory=lambda: REPHRASED)
    """Words of an instruction, and what may stand in their place."""

    def edit(self, candidate: Candidate, chance: random.Random) -> Candidate | None:
        """One edit; None where none applies."""
        operators: list[_Operator] = [_drop, _swap, _move, self._rephrase, self._add]
        chance.shuffle(operators)
        for operator in operators:
            found = operator(_units(candidate.instruction), chance)
            if found is not None and found[0].strip() != candidate.instruction:
                return candidate.with_instruction(found[0].strip(), found[1])
        return None

    def _rephrase(self, units: _Units, chance: random.Random) -> tuple[str, str] | None:
        whole = _joined(units)
        pairs = [(old, new) for old, news in self.rephrased.items() for new in news if escape_template(old) in whole]
        if not pairs:
            return None
        old, new = chance.choice(pairs)
        return whole.replace(escape_template(old), escape_template(new)), f"rephrase: {old!r} as {new!r}"

    def _add(self, units: _Units, chance: random.Random) -> tuple[str, str] | None:
        whole = _joined(units)
        fresh = [phrase for phrase in self.phrases if escape_template(phrase) not in whole]
        if not fresh:
            return None
        phrase = chance.choice(fresh)
        return f"{whole.rstrip()} {escape_template(phrase)}".strip(), f"add: {phrase}"


_Units = list[tuple[str, str]]
"""Sentences, each with the white space after it."""
_Operator = Callable[[_Units, random.Random], "tuple[str, str] | None"]


def _units(text: str) -> _Units:
    spans = sentences(text)
    ends = [*(start for start, _ in spans[1:]), len(text)] if spans else []
    return [(text[start:end], text[end:after]) for (start, end), after in zip(spans, ends, strict=True)]


def _joined(units: _Units) -> str:
    return "".join(text + space for text, space in units)


def _free(units: _Units) -> list[int]:
    """Sentences without a variable."""
    return [n for n, (text, _) in enumerate(units) if not string.Template(text).get_identifiers()]


def _drop(units: _Units, chance: random.Random) -> tuple[str, str] | None:
    free = _free(units)
    if not free or len(units) < 2:
        return None
    gone = chance.choice(free)
    return _joined([unit for n, unit in enumerate(units) if n != gone]), f"drop: {_short(units[gone][0])}"


def _swap(units: _Units, chance: random.Random) -> tuple[str, str] | None:
    free = _free(units)
    if len(free) < 2:
        return None
    first, second = sorted(chance.sample(free, 2))
    changed = list(units)
    changed[first] = (units[second][0], units[first][1])  # white space stays in its place
    changed[second] = (units[first][0], units[second][1])
    return _joined(changed), f"swap: {_short(units[first][0])} / {_short(units[second][0])}"


def _move(units: _Units, chance: random.Random) -> tuple[str, str] | None:
    free = _free(units)
    if len(units) < 3 or not free:
        return None
    taken, to = chance.choice(free), chance.randrange(len(units))
    texts = [text for text, _ in units]
    texts.insert(to, texts.pop(taken))
    return _joined([(text, space) for text, (_, space) in zip(texts, units, strict=True)]), (
        f"move: {_short(units[taken][0])}"
    )


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."
