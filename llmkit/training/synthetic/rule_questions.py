"""Questions from passages, by rules: no model, the same every time.

Three kinds, after what a passage offers:

* heading: "Installing the pump" above it becomes "What is said about installing the pump?"
* definition: "A check valve is a valve that …" becomes "What is a check valve?"
* cloze: in "The bridge was opened in 1932." a date, a number or a name is asked for: "The bridge was opened in what
  year?" (Lewis, Denoyer & Riedel 2019 make the same of noun phrases).

The rules are English. What they make is easier than what people ask: the passage's own words stand in it.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from llmkit.text.sentences import sentences
from llmkit.types import Chunk

Kind = Literal["heading", "definition", "cloze", "model"]

_WORDS = re.compile(r"[^\W_]+(?:['’.-][^\W_]+)*")
_ENGLISH = re.compile(r"\b(?:the|of|and|to|in|is|are|was|were|for|with|by|on|that|this|it|from|as|at)\b", re.IGNORECASE)
_MARKUP = re.compile(r"[|{}<>=\\#*\[\]]|https?:|\.\.\.|…")
_DEFINITION = re.compile(
    r"(?P<who>(?:(?:The|A|An)\s+)?[A-Za-z][\w’'-]*(?:\s+[\w’'-]+){0,5}?)\s+"
    r"(?P<verb>is|are|was|were)\s+(?P<what>(?:an?|the|one\s+of)\s+(?!hundred|thousand|million|few|lot|little|bit|same|result|reason)\w.+)",
    re.DOTALL,
)
_NOT_DEFINED = frozenset(
    """it its this that these those there here he she they we you i his her their our your my who which what when where
    one another some all each both many most such if while as because although but and or so then example""".split()
)
_FINITE = frozenset("is are was were has have had be do does did can must should will".split())
_ASKING = frozenset("how why what when where who which".split())
_CLAUSE = frozenset("that which who when where if while because although and or but to not".split())
_MONTHS = "January|February|March|April|May|June|July|August|September|October|November|December"
_SPANS = (
    (re.compile(rf"\b(?:\d{{1,2}} (?:{_MONTHS})|(?:{_MONTHS})(?: \d{{1,2}},?)?) \d{{4}}\b"), "what date"),
    (re.compile(r"(?<=\b[Ii]n )(?:1[0-9]|20)\d{2}\b(?![-–.,]\d)"), "what year"),
    (
        re.compile(r"(?<![\w.,$€£/:-])\d{1,3}(?:,\d{3})*(?:\.\d+)?(?= [a-z]{3,})(?! (?:and|or|to|of|in|is|are)\b)"),
        "how many",
    ),
    (
        re.compile(
            r"(?<=[a-z,] )(?:(?<=\bthe )|\b)[A-Z][a-z]+(?: (?:[A-Z][a-z]+|of|the|de|von)){0,3} [A-Z][a-z]+\b(?![-’'.])"
        ),
        "what",
    ),
)
_GENERIC = frozenset(
    """introduction overview summary conclusion conclusions background references notes contents index appendix
    abstract preface other miscellaneous general usage example examples description details""".split()
)


@dataclass(frozen=True, slots=True)
class Question:
    """A question with the passage it was made from."""

    text: str
    answer: str
    """Words of the passage that answer it; empty where the whole passage does."""
    kind: Kind
    chunk: Chunk

    @property
    def key(self) -> str:
        """Its words, lower-cased: two questions with one key are one question."""
        return " ".join(_WORDS.findall(self.text.lower()))


def by_rules(chunks: Sequence[Chunk], *, per_passage: int, seed: int) -> tuple[list[Question], Counter[str]]:
    """Questions of the passages in order, and what was left out, by reason.

    Args:
        chunks: the passages.
        per_passage: most questions of one passage.
        seed: which of a passage's questions are kept, where it has more.
    """
    made: list[Question] = []
    left: Counter[str] = Counter()
    headings: set[tuple[str, tuple[str, ...]]] = set()
    for chunk in chunks:
        found = [*_from_heading(chunk, headings), *_from_sentences(chunk, left)]
        if not found:
            left["passages that offer no question"] += 1
        digest = hashlib.sha256(f"{seed}\0{chunk.id}\0{chunk.text}".encode()).digest()
        kept = random.Random(digest).sample(range(len(found)), min(per_passage, len(found)))  # noqa: S311
        left[f"questions beyond {per_passage} of a passage"] += len(found) - len(kept)
        made += [found[i] for i in sorted(kept)]
    return made, +left


def _from_heading(chunk: Chunk, seen: set[tuple[str, tuple[str, ...]]]) -> Iterator[Question]:
    """The first passage under a heading answers what it promises."""
    if not chunk.heading or (chunk.document, chunk.heading) in seen:
        return
    seen.add((chunk.document, chunk.heading))
    heading = re.sub(r"^[\d.]+\s+", "", " ".join(chunk.heading[-1].split())).strip(" :.")
    words = _WORDS.findall(heading)
    if not 1 <= len(words) <= 12 or _MARKUP.search(heading) or (len(words) == 1 and words[0].lower() in _GENERIC):
        return
    asking = words[0].lower() in _ASKING
    if heading.endswith("?"):
        text = heading
    elif asking and len(words) > 2 and words[1].lower() in _FINITE | {"to"}:
        text = f"{heading}?"
    elif not asking and _FINITE & {word.lower() for word in words}:
        return  # a statement: asking about it would give the answer away
    else:
        text = f"What is said about {_lowered(heading)}?"
    yield Question(text, "", "heading", chunk)


def _from_sentences(chunk: Chunk, left: Counter[str]) -> Iterator[Question]:
    for start, end in sentences(chunk.text):
        sentence = " ".join(chunk.text[start:end].split())
        words = _WORDS.findall(sentence)
        if not 6 <= len(words) <= 32 or not sentence.endswith(".") or _MARKUP.search(sentence):
            left["sentences too short, too long or not prose"] += 1
        elif (
            len(_ENGLISH.findall(sentence)) < 2
            or sum(map(str.islower, words)) < 0.6 * len(words)
            or sum(map(str.isascii, sentence)) < 0.9 * len(sentence)
        ):
            left["sentences that are not English"] += 1
        else:
            yield from _definition(sentence, chunk)
            yield from _cloze(sentence, chunk)


def _definition(sentence: str, chunk: Chunk) -> Iterator[Question]:
    match = _DEFINITION.fullmatch(sentence)
    if match is None:
        return
    words = [word.lower() for word in _WORDS.findall(match["who"])]
    if words[0] in _NOT_DEFINED or _CLAUSE & set(words) or words[-1] in _NOT_DEFINED:
        return
    answer = match["what"].rstrip(".")
    yield Question(_plain(f"What {match['verb']} {_lowered(match['who'])}?"), answer, "definition", chunk)


def _cloze(sentence: str, chunk: Chunk) -> Iterator[Question]:
    for clause in re.split(r"[;:] ", sentence.rstrip(".")):
        if len(_WORDS.findall(clause)) < 5:
            continue
        taken: list[tuple[int, int]] = []
        for pattern, ask in _SPANS:
            for match in pattern.finditer(clause):
                if any(match.start() < end and start < match.end() for start, end in taken):
                    continue
                taken.append(match.span())
                before = clause[: match.start()]
                before = before.removesuffix("the ") if ask == "what" else before
                asked = f"{before}{ask}{clause[match.end() :]}?"
                yield Question(_plain(asked[:1].upper() + asked[1:]), match.group(), "cloze", chunk)


def _plain(text: str) -> str:
    return text.replace("`", "")


def _lowered(text: str) -> str:
    """Without the capital of a sentence's first word; names and abbreviations keep theirs."""
    first, _, rest = text.partition(" ")
    plain = first[1:].islower() or len(first) == 1
    following = _WORDS.match(rest)
    name = following is not None and following.group()[:1].isupper() and first.lower() not in {"the", "a", "an"}
    return f"{first.lower()} {rest}".strip() if plain and not name and first != "I" else text
