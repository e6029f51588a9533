"""Examples that teach a model to call tools, made from templates: the same every time, for a seed.

Every conversation is rendered by what serves it: the agent's system prompt, the tools' own descriptions, results as
:mod:`llmkit.pipeline.tools.result` shows them, and the protocol of :mod:`llmkit.models.tool_protocol`.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from llmkit import arithmetic, prompts
from llmkit.agents.tool import Output, Tool
from llmkit.agents.tools.calculator_clock_units import Calculator, Convert, Now
from llmkit.models import tool_protocol
from llmkit.pipeline.steps.answering.prompt_passages import NOT_FOUND
from llmkit.pipeline.tools.result import format_result
from llmkit.pipeline.tools.search import Search
from llmkit.training.synthetic.tool_call_vocabulary import HELD_BACK, TRAIN, Attribute, Words
from llmkit.types import Chunk, Hit

PROMPT = "agent@v1"
Kind = Literal["sum", "search", "priced", "chained", "refuse", "plain"]
KINDS: dict[Kind, float] = {
    "sum": 0.32, "search": 0.26, "priced": 0.16, "chained": 0.08, "refuse": 0.11, "plain": 0.07,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Taken:
    """A call that was made, and what it gave as it was shown."""

    name: str
    arguments: dict[str, Any]
    result: str
    about: str = ""
    """Of a search: the words its query must hold."""


@dataclass(frozen=True, slots=True)
class Example:
    """A question, the calls that lead to its answer, and the answer."""

    kind: Kind
    question: str
    calls: tuple[Taken, ...]
    answer: str


def rows(count: int, seed: int) -> Iterator[dict[str, Any]]:
    """Training rows in chat form, ``{"messages": [...]}``, as the protocol shows them; every reply is to be learned."""
    dice = random.Random(seed)  # noqa: S311
    for example in examples(TRAIN, count, dice, held_back=False):
        specs = [tool.spec() for tool in _offered(dice)]
        turns = tool_protocol.render_turns(_messages(example), specs)
        yield {"messages": [{"role": turn.role, "content": turn.content} for turn in turns], "kind": example.kind}


def held_back(count: int, seed: int) -> Iterator[dict[str, Any]]:
    """Rows of the task ``tool-calls``: one decision each, of questions that share nothing with the training rows.

    ``before`` are the calls that were made, ``target`` the call that is right, or nothing where the answer is due.
    """
    dice = random.Random(seed)  # noqa: S311
    for n, example in enumerate(examples(HELD_BACK, count, dice, held_back=True), 1):
        for step in range(len(example.calls) + 1):
            before = [
                {"name": one.name, "arguments": one.arguments, "result": one.result} for one in example.calls[:step]
            ]
            due = example.calls[step] if step < len(example.calls) else None
            yield {
                "id": f"{example.kind}-{n}-{step + 1}",
                "cluster": f"{example.kind}-{n}",
                "kind": example.kind,
                "question": example.question,
                "before": before,
                "target": [] if due is None else [{due.name: _accepted(due)}],
            }


def examples(words: Words, count: int, dice: random.Random, *, held_back: bool) -> Iterator[Example]:
    """So many different examples, the kinds in fixed shares."""
    made: set[tuple[str, str]] = set()
    kinds, shares = list(KINDS), list(KINDS.values())
    plain = 0
    while len(made) + plain < count:
        kind = dice.choices(kinds, shares)[0]
        example = _Maker(words, dice, held_back).make(kind)
        if kind == "plain":  # there are only a few of these, and they may come again
            if plain >= KINDS["plain"] * count + 1:
                continue
            plain += 1
        elif (kind, example.question) in made:
            continue
        else:
            made.add((kind, example.question))
        yield example


class _Maker:
    def __init__(self, words: Words, dice: random.Random, held_back: bool) -> None:
        self._words, self._dice, self._held_back = words, dice, held_back

    def make(self, kind: Kind) -> Example:
        made: Example = getattr(self, f"_{kind}")()
        return made

    def _sum(self) -> Example:
        one = self._dice.choice(self._words.sums)
        large = self._dice.random() < 0.5
        a, b, c = self._number(20, 999 if large else 90), self._number(2, 60), self._number(2, 50)
        if "/ {b}" in one.expression and self._dice.random() < 0.7:
            b = self._number(2, 12)
            a = self._number(2, 80) * b
            a = a if self._fits(a) else self._number(20, 99)
        expression = one.expression.format(a=a, b=b, c=c)
        call, result = _calculated(expression)
        return Example("sum", one.question.format(a=a, b=b, c=c), (call,), one.answer.format(r=result))

    def _search(self) -> Example:
        one, thing, n = self._dice.choice(self._words.attributes), self._thing(), self._number(2, 400)
        call, place = self._found(f"{thing} {one.word}", one.fact.format(e=thing, n=n), thing, near=one)
        question = self._dice.choice(one.questions).format(e=thing)
        return Example("search", question, (call,), f"{one.answer.format(n=n)} [{place}].")

    def _refuse(self) -> Example:
        one, thing = self._dice.choice(self._words.attributes), self._thing()
        call, _ = self._found(f"{thing} {one.word}", None, thing, near=one)
        return Example("refuse", self._dice.choice(one.questions).format(e=thing), (call,), NOT_FOUND)

    def _priced(self) -> Example:
        question, expression, answer = self._dice.choice(self._words.priced)
        thing, n, b = self._thing(), self._number(4, 90), self._number(2, 60)
        b = self._number(90, 400) if expression.startswith("{b} -") else b
        first, place = self._found(f"{thing} price", self._words.price_fact.format(e=thing, n=n), thing)
        second, result = _calculated(expression.format(n=n, b=b))
        return Example(
            "priced", question.format(e=thing, b=b), (first, second), f"{answer.format(r=result)} [{place}]."
        )

    def _chained(self) -> Example:
        words, thing = self._words, self._thing()
        place, person = self._dice.choice(words.places), self._dice.choice(words.people)
        first, _ = self._found(f"{thing} depot", words.depot_fact.format(e=thing, p=place), thing)
        fact = words.manager_fact.format(p=place, w=person)
        second, rank = self._found(f"depot {place} manager", fact, place, before=3)
        question = self._dice.choice(words.chained).format(e=thing)
        return Example("chained", question, (first, second), f"{person} [{rank}].")

    def _plain(self) -> Example:
        question, answer = self._dice.choice(self._words.plain)
        return Example("plain", question, (), answer)

    def _found(
        self, query: str, fact: str | None, about: str, *, near: Attribute | None = None, before: int = 0
    ) -> tuple[Taken, int]:
        """A search that found some passages, one of them with the fact, and that passage's number.

        The others say something else of the same thing, or the same of another.
        """
        passages = [[self._other(about, near) for _ in range(self._dice.choice((1, 1, 2, 3)))] for _ in range(3)]
        place = self._dice.randrange(3)
        if fact is not None:
            passages[place].insert(self._dice.randrange(len(passages[place]) + 1), fact)
            passages[place] = passages[place][: max(1 + passages[place].index(fact), 2)]
        titles = ("Catalogue", "Stock list", "Data sheet", about.title())
        hits = []
        for n, sentences in enumerate(passages):
            text = " ".join(sentences)
            hits.append(Hit(Chunk(f"d{n}", n, 0, len(text), text, 0, title=self._dice.choice(titles)), 0.0))
        result, _ = format_result(_SEARCH, Output("", tuple(hits)), first=before + 1)
        return Taken("search", {"query": query}, result, about), before + place + 1

    def _other(self, thing: str, near: Attribute | None) -> str:
        one = self._dice.choice(self._words.attributes)
        if near is None or self._dice.random() < 0.5:
            return one.fact.format(e=self._thing(), n=self._number(2, 400))
        if one is near or self._dice.random() < 0.5:
            return near.fact.format(e=self._thing(), n=self._number(2, 400))
        return one.fact.format(e=thing, n=self._number(2, 400))

    def _thing(self) -> str:
        words = self._words
        name = self._dice.choice(words.beginnings) + self._dice.choice(words.endings)
        return f"{name} {self._dice.choice(words.kinds)}"

    def _fits(self, number: int) -> bool:
        return (number % 5 == 2) == self._held_back

    def _number(self, low: int, high: int) -> int:
        """A number of this side: those with a remainder of 2 by 5 are held back."""
        return next(n for n in iter(lambda: self._dice.randint(low, high), None) if self._fits(n))


_SEARCH: Tool = Search().tools()[0]
_CALCULATOR: Tool = Calculator().tools()[0]
_ABOUT = (
    _SEARCH.description, "Finds passages in the catalogue.", "Looks things up in the company's documents.",
    "Searches the manuals and price lists.",
)  # fmt: skip


def _offered(dice: random.Random) -> list[Tool]:
    """The two tools that are taught, in any order, sometimes among others."""
    others = [*Now().tools(), *Convert().tools()]
    search = replace(_SEARCH, description=dice.choice(_ABOUT))
    tools = [search, _CALCULATOR, *(dice.sample(others, dice.choice((1, 2))) if dice.random() < 0.25 else ())]
    dice.shuffle(tools)
    return tools


def _calculated(expression: str) -> tuple[Taken, str]:
    result = arithmetic.format_number(arithmetic.value(expression))
    return Taken("calculator", {"expression": expression}, result), result


def _accepted(call: Taken) -> dict[str, Any]:
    if call.name == "search":
        return {"query": [call.about]}
    return {name: [value] for name, value in call.arguments.items()}


def _messages(example: Example) -> Sequence[BaseMessage]:
    kinds = {"system": SystemMessage, "user": HumanMessage, "assistant": AIMessage}
    asked = prompts.load(PROMPT).render({"question": example.question})
    messages: list[BaseMessage] = [kinds[one.role](one.content) for one in asked]
    for n, call in enumerate(example.calls, 1):
        made = {"name": call.name, "args": call.arguments, "id": f"call_{n}", "type": "tool_call"}
        messages += [
            AIMessage("", tool_calls=[made]),
            ToolMessage(call.result, name=call.name, tool_call_id=f"call_{n}"),
        ]
    return [*messages, AIMessage(example.answer)]
