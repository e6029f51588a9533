"""The map of the tree, the glossary and the import order name things that exist."""

from __future__ import annotations

import ast
import importlib
import re
import tomllib
from functools import cache

import pytest
from conftest import REPOSITORY

MAP = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
GLOSSARY = (REPOSITORY / "docs" / "glossary.md").read_text(encoding="utf-8")
CONTRIBUTING = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
FILE = re.compile(r"\[`([\w/]+\.py)`\]\(\.\./llmkit/([\w/]+\.py)\)((?: (?:and )?`[\w.]+`)*)")
NAMED = [(path, name) for path, _, names in FILE.findall(MAP) for name in re.findall(r"`([\w.]+)`", names)]
TERMS = re.findall(r"^\| ([^|]+) \| [^|]+ \| ([^|]+) \|$", GLOSSARY, re.MULTILINE)[1:]
QUESTIONS = (
    "BM25 searched",
    "a filter turned into SQL",
    "a commit happen",
    "a citation checked",
    "`/v1/chat/completions`",
    "a LoRA example masked",
    "a confidence interval computed",
    "a second store go",
)


@cache
def definitions(path: str) -> frozenset[str]:
    """Names that a file defines: functions, classes, and ``Class.name`` for methods and fields."""
    found = set()

    def add(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                found.add(prefix + node.name)
            if isinstance(node, ast.ClassDef):
                found.add(prefix + node.name)
                add(node.body, f"{prefix}{node.name}.")
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                found.add(prefix + node.target.id)

    add(ast.parse((REPOSITORY / "llmkit" / path).read_text(encoding="utf-8")).body, "")
    return frozenset(found)


@pytest.mark.parametrize(("path", "name"), NAMED, ids=lambda value: value)
def test_every_function_on_the_map_exists(path, name):
    assert name in definitions(path)


def test_the_links_of_the_map_lead_to_the_files_they_name():
    assert [(shown, target) for shown, target, _ in FILE.findall(MAP) if shown != target] == []


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_map_answers_what_newcomers_ask(question):
    (row,) = [line for line in MAP.splitlines() if line.startswith("|") and question in line.split("|")[1]]
    assert FILE.search(row), "the row names a file and a function"


def test_every_folder_is_on_the_map():
    on_the_map = set(re.findall(r"`(\w+)/`", MAP.partition("## The folders")[2]))
    folders = {path.parent.name for path in (REPOSITORY / "llmkit").glob("*/__init__.py")}
    assert folders == on_the_map


def test_the_map_is_one_hop_away():
    assert "(docs/architecture.md)" in CONTRIBUTING
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert "(docs/architecture.md)" in readme
    assert "(docs/glossary.md)" in readme


@pytest.mark.parametrize(("term", "places"), TERMS, ids=[term for term, _ in TERMS])
def test_every_term_is_held_by_something_that_exists(term, places):
    dotted = re.findall(r"`(llmkit\.[\w.]+)`", places)
    commands = re.findall(r"`llmkit ([\w -]+)`", places)
    assert dotted or commands
    for path in dotted:
        resolve(path)
    manual = (REPOSITORY / "docs" / "cli.md").read_text(encoding="utf-8")
    for command in commands:
        *words, last = command.split()
        line = f"llmkit {' '.join(words)}" if last.startswith("-") else f"llmkit {command}"
        assert line in manual, f"docs/cli.md does not know `{line}`"


def resolve(path: str) -> object:
    """The class, function, method or field at a dotted path."""
    words = path.split(".")
    for length in range(len(words), 0, -1):
        try:
            thing = importlib.import_module(".".join(words[:length]))
        except ModuleNotFoundError:
            continue
        for word in words[length:]:
            thing = getattr(thing, word)
        return thing
    raise ModuleNotFoundError(path)


def test_a_wrong_path_is_noticed():
    with pytest.raises((AttributeError, ModuleNotFoundError)):
        resolve("llmkit.types.Passage")


def test_the_floors_in_contributing_are_the_import_contract():
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = settings["tool"]["importlinter"]["contracts"]
    section = CONTRIBUTING.partition("## Floors")[2].partition("\n## ")[0]
    (block,) = re.findall(r"^```\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    written = [frozenset(re.split(r"\s{2,}", line)[0].split()) for line in block.splitlines()]
    enforced = [frozenset(layer.replace("llmkit.", "").split(" | ")) for layer in contract["layers"]]
    assert written == enforced


def test_every_module_and_folder_has_a_floor():
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = settings["tool"]["importlinter"]["contracts"]
    floors = {name for layer in contract["layers"] for name in layer.split(" | ")}
    top = {f"llmkit.{path.stem}" for path in (REPOSITORY / "llmkit").glob("*.py") if not path.stem.startswith("__")}
    top |= {f"llmkit.{path.parent.name}" for path in (REPOSITORY / "llmkit").glob("*/__init__.py")}
    assert top - floors == {"llmkit.testing"}, "only the conformance suites may import from everywhere"
