"""A string where many are meant: one item, or refused by the name of the parameter, in every public function."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

import llmkit
from llmkit import Document, KnowledgeBase, Sample, load_pipeline
from llmkit.arguments import many, many_texts, one_or_many
from llmkit.errors import DataError, LlmkitError
from llmkit.training.data import Example

MANY = re.compile(
    r"\b(Sequence|Iterable|Collection|Set|AbstractSet|list|set|frozenset|tuple)\[(str|Path|str \| Path)(, \.\.\.)?\]"
)
ONE = re.compile(r"(^|\| )(str|DocumentLike)( \||$)")

CONSTRUCTED_HERE = {"Chunk", "Answer", "Standing", "Hit", "State", "Message", "Event", "Reply", "Asked", "Example"}
"""Results: made by llmkit, not by its users."""
OUTPUTS = {"ChatSession.history(notes)"}
"""Lists that are filled for the caller."""


class Untouchable:
    """Stands for every other argument: a guard must speak before anything else is looked at."""

    def __getattribute__(self, name):
        raise AssertionError(f"the function went on to {name!r} before it looked at the string")

    def __len__(self):
        raise AssertionError("the function went on before it looked at the string")

    __iter__ = __bool__ = __len__


def _public():
    """(label, function, whether it is a method) of all that packages name as public, each once."""
    found = {}
    names = [info.name for info in pkgutil.walk_packages(llmkit.__path__, "llmkit.") if info.ispkg]
    for package in map(importlib.import_module, ["llmkit", *names]):
        for name in getattr(package, "__all__", []):
            thing = getattr(package, name)
            if inspect.isfunction(thing):
                found[f"{thing.__module__}.{thing.__qualname__}"] = thing, False
            elif inspect.isclass(thing):
                for attribute, member in inspect.getmembers_static(thing):
                    static = isinstance(member, staticmethod)
                    function = getattr(member, "__func__", member)
                    own = inspect.isfunction(function) and function.__module__.startswith("llmkit")
                    if own and attribute == "__init__":
                        found[f"{function.__module__}.{function.__qualname__}"] = thing, False
                    elif own and not attribute.startswith("_"):
                        found[f"{function.__module__}.{function.__qualname__}"] = function, not static
    return found


def _parameters():
    for label, (function, method) in sorted(_public().items()):
        for parameter in inspect.signature(function).parameters.values():
            annotation = str(parameter.annotation)
            known = f"{function.__qualname__}({parameter.name})" in OUTPUTS or function.__qualname__ in CONSTRUCTED_HERE
            if MANY.search(annotation) and "Callable" not in annotation and not known:
                yield pytest.param(function, method, parameter.name, annotation, id=f"{label}({parameter.name})")


@pytest.mark.parametrize(("function", "method", "name", "annotation"), list(_parameters()))
def test_a_lone_string_is_one_item_or_refused_by_name(function, method, name, annotation):
    if ONE.search(annotation):
        assert f"{function.__qualname__}({name})" in ONE_ITEM, "prove that one string is one item, and name it there"
        return
    positional, named = [], {}
    for position, parameter in enumerate(inspect.signature(function).parameters.values()):
        value = "pump" if parameter.name == name else ["x"] if MANY.search(str(parameter.annotation)) else Untouchable()
        if parameter.kind is parameter.POSITIONAL_ONLY or (position == 0 and method):
            positional.append(value)
        elif parameter.name == name or (
            parameter.default is parameter.empty
            and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        ):
            named[parameter.name] = value

    def call():
        result = function(*positional, **named)
        if inspect.isgenerator(result):
            next(result)

    with pytest.raises((LlmkitError, ValidationError), match=rf"\b{name}\b"):
        call()


ONE_ITEM = {
    "KnowledgeBase.open(reader)": lambda kb: KnowledgeBase.open(kb.path, reader="hr").reader == ("hr",),
    "KnowledgeBase.as_reader(reader)": lambda kb: kb.as_reader("hr, board").reader == ("board", "hr"),
    "KnowledgeBase.search(query)": lambda kb: kb.search("pump") == kb.search(["pump"])[0] != [],
    "KnowledgeBase.ingest(roots)": lambda kb: kb.ingest(str(Path(__file__))).documents == 1,
    "KnowledgeBase.ingest(access)": lambda kb: kb.ingest(__file__, access="hr").documents == 1,
    "KnowledgeBase.add(documents)": lambda kb: kb.add({"id": "z", "text": "Z."}).documents == 1,
    "KnowledgeBase.delete(ids)": lambda kb: kb.delete("pump") == 1,
    "KnowledgeBase.forget(ids)": lambda kb: kb.forget("pump").documents == 1,
    "Pipeline.as_reader(reader)": lambda kb: load_pipeline("docs-qa").with_knowledge(kb).as_reader("hr").open_knowledge()
    .reader == ("hr",),
}  # fmt: skip
"""Public functions that take one string for one item, and a proof of each."""


@pytest.mark.parametrize("name", ONE_ITEM)
def test_one_string_is_one_item(name, tmp_path):
    with KnowledgeBase.create(tmp_path / "kb", encoder="hashing") as kb:
        kb.add([Document("pump", "The pump is red."), Document("p", "A letter.")])
        assert ONE_ITEM[name](kb)


def test_what_a_user_constructs_takes_no_lone_string():
    for make in (
        lambda: Document("a", "text", access="hr"),
        lambda: Document("a", "text", notes="note"),
        lambda: Sample("a", "question?", answers="answer"),
        lambda: Example("question?", (), answers="answer"),
    ):
        with pytest.raises(DataError, match=r"takes a list, and '.*' is one item"):
            make()


def test_the_walk_finds_what_it_should():
    names = [parameter.id for parameter in _parameters()]
    assert "llmkit.encoders.hashing.HashingEncoder.encode_queries(texts)" in names
    assert "llmkit.knowledge.knowledge_base.KnowledgeBase.delete(ids)" in names
    assert len(names) > 40


def test_the_guards_themselves():
    assert many_texts(("a", "b"), "x") == ("a", "b")
    assert one_or_many("a", "x") == ["a"]
    assert one_or_many(Path("a"), "x") == [Path("a")]
    assert one_or_many({"a": 1}, "x") == ["a"]
    assert list(many(iter("ab"), "x")) == ["a", "b"]
    for value in ("ab", b"ab", Path("ab"), 3, None):
        with pytest.raises(DataError, match="x takes"):
            many(value, "x")
    with pytest.raises(DataError, match=r"write list\(…\) around it"):
        many_texts((text for text in "ab"), "x")
    with pytest.raises(DataError, match=r"x\[1\] is float64"):
        many_texts(["a", np.float64(1)], "x")
