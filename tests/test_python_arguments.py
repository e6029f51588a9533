"""A string where many are meant: one item, or refused by the name of the parameter, in every public function."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import numpy as np
import pytest

import llmkit
from llmkit.arguments import many, many_texts, one_or_many
from llmkit.errors import DataError, LlmkitError

MANY = re.compile(
    r"\b(Sequence|Iterable|Collection|Set|AbstractSet|list|set|frozenset|tuple)\[(str|Path|str \| Path)(, \.\.\.)?\]"
)
ONE = re.compile(r"(^|\| )(str|DocumentLike)( \||$)")


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
    for info in pkgutil.walk_packages(llmkit.__path__, "llmkit."):
        if not info.ispkg or info.name.startswith(("llmkit.cli", "llmkit.testing", "llmkit._assets")):
            continue
        package = importlib.import_module(info.name)
        for name in getattr(package, "__all__", []):
            thing = getattr(package, name)
            if inspect.isfunction(thing):
                found[f"{thing.__module__}.{thing.__qualname__}"] = thing, False
            elif inspect.isclass(thing):
                for attribute, member in inspect.getmembers_static(thing):
                    static = isinstance(member, staticmethod)
                    function = getattr(member, "__func__", member)
                    own = inspect.isfunction(function) and function.__module__.startswith("llmkit")
                    if own and (not attribute.startswith("_") or attribute == "__init__"):
                        found[f"{function.__module__}.{function.__qualname__}"] = function, not static
    return found


def _parameters():
    for label, (function, method) in sorted(_public().items()):
        for parameter in inspect.signature(function).parameters.values():
            annotation = str(parameter.annotation)
            if MANY.search(annotation) and "Callable" not in annotation:
                yield pytest.param(function, method, parameter.name, annotation, id=f"{label}({parameter.name})")


@pytest.mark.parametrize(("function", "method", "name", "annotation"), _parameters())
def test_a_lone_string_is_one_item_or_refused_by_name(function, method, name, annotation):
    if ONE.search(annotation):
        assert f"{function.__qualname__}({name})" in ONE_ITEM, "prove that one string is one item, and name it there"
        return
    arguments = {}
    for position, parameter in enumerate(inspect.signature(function).parameters.values()):
        needed = parameter.default is parameter.empty and parameter.kind not in (
            parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL
        )  # fmt: skip
        if needed and not (position == 0 and method):
            arguments[parameter.name] = Untouchable()
    arguments[name] = "pump"
    with pytest.raises(LlmkitError, match=rf"\b{name}\b"):
        result = function(Untouchable(), **arguments) if method else function(**arguments)
        if inspect.isgenerator(result):
            next(result)


ONE_ITEM = {
    "KnowledgeBase.ask(overrides)": "",
}


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
