"""What is imported when, and what may not stand in the code."""

from __future__ import annotations

import ast
import importlib
import json
import pydoc
import subprocess
import sys
from pathlib import Path

import pytest

from llmkit import registry
from llmkit.part import Part

HEAVY = {"torch", "transformers", "faiss", "langchain", "langchain_core", "openai", "openvino", "onnx", "onnxruntime",
         "tantivy", "numpy", "sentence_transformers", "xllamacpp"}  # fmt: skip


@pytest.mark.parametrize(
    "code", ["import llmkit", "import sys; sys.argv = ['llmkit', '--help']; import llmkit.__main__"]
)
def test_import_and_help_load_nothing_heavy(code):
    script = (
        "import atexit, json, sys\n"
        "atexit.register(lambda: print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules}))))\n" + code
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not HEAVY & set(json.loads(done.stdout.splitlines()[-1]))


WORDS = [(family, word) for family, table in registry.BUILTIN.items() for word in table]


@pytest.mark.parametrize(("family", "word"), WORDS)
def test_every_word_of_the_registry_is_a_part_that_describes_itself(family, word):
    part = registry.lookup(family, word)
    assert issubclass(part, Part)
    assert (part.family, part.type) == (family, word)
    assert part.__doc__
    for name, field in part.model_fields.items():
        assert field.description, f"{part.__name__}.{name} has no docstring"


def test_an_unknown_word_names_the_near_one_and_the_known_ones():
    with pytest.raises(
        registry.ConfigError, match=r"unknown retriever type 'dnse'; did you mean 'dense'\? \(known: bm25"
    ):
        registry.lookup("retriever", "dnse")


class _Point:
    """Stands for an entry point of an installed plugin."""

    name, value = "retriever.mine", "mine:Mine"

    def __init__(self, found):
        self.found = found

    def load(self):
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


def test_plugins_are_looked_at_on_a_miss_only_and_keep_their_cause(monkeypatch):
    class Mine(Part):
        family = "retriever"
        type = "mine"

    monkeypatch.setattr(registry, "entry_points", lambda group: [_Point(Mine)])
    assert registry.lookup("retriever", "mine") is Mine
    assert "mine" in registry.names("retriever")
    monkeypatch.setattr(registry, "entry_points", lambda group: [_Point(ImportError("no module named numpty"))])
    assert registry.lookup("retriever", "dense").type == "dense"
    with pytest.raises(registry.ConfigError, match="does not import: no module named numpty") as caught:
        registry.lookup("retriever", "mine")
    assert isinstance(caught.value.__cause__, ImportError)
    monkeypatch.setattr(registry, "entry_points", lambda group: [_Point(object)])
    with pytest.raises(registry.ConfigError, match="not a subclass"):
        registry.lookup("retriever", "mine")


def _files():
    from conftest import REPOSITORY

    return sorted((REPOSITORY / "llmkit").rglob("*.py"))


@pytest.mark.parametrize("path", _files(), ids=lambda path: path.name)
def test_no_file_is_dangerous(path):
    text = path.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {getattr(node, "module", "") or "", *(alias.name for alias in node.names)}
            assert not names & {"pickle", "joblib", "dill", "marshal", "shelve"}
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in {"eval", "exec", "yaml.load", "torch.load", "os.system", "compile"}
            for keyword in node.keywords:
                assert not (keyword.arg == "shell" and ast.unparse(keyword.value) == "True")
                assert not (keyword.arg == "allow_pickle" and ast.unparse(keyword.value) == "True")


def test_a_missing_extra_is_one_sentence_with_the_pip_line():
    from llmkit.errors import MissingExtra
    from llmkit.extras import need

    with pytest.raises(MissingExtra, match=r"pip install 'llmkit\[train\]'"):
        need("a_package_that_is_not_there", feature="training", extra="train")
    assert need("json", feature="x", extra="y") is importlib.import_module("json")


def _packages():
    from conftest import REPOSITORY

    return [".".join(path.parent.relative_to(REPOSITORY).parts) for path in _files() if path.name == "__init__.py"]


@pytest.mark.parametrize("package", _packages())
def test_public_names_load_and_type_checkers_see_the_same_ones(package):
    module = importlib.import_module(package)
    names = getattr(module, "__all__", [])
    folder = Path(module.__file__).parent
    if "lazy_names" in vars(module):
        in_the_way = {name for name in names if (folder / f"{name}.py").exists() or (folder / name).is_dir()}
        assert not in_the_way, "once it is imported, Python hands out the submodule instead"
        declared = set()
        for node in ast.walk(ast.parse(Path(module.__file__).read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module not in ("llmkit.lazy", "llmkit.version"):
                declared |= {alias.asname for alias in node.names if alias.asname}
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Name):
                declared |= {target.id for target in node.targets}
        assert {name for name in declared if not name.startswith("_")} == set(names)
        assert dir(module) == names
    for name in names:
        assert getattr(module, name).__doc__ or not callable(getattr(module, name)), f"{name} has no docstring"


def test_every_part_that_ships_is_a_public_name_of_a_package():
    public = {id(getattr(importlib.import_module(package), name)) for package in _packages()
              for name in getattr(importlib.import_module(package), "__all__", [])}  # fmt: skip
    for family, word in WORDS:
        part = registry.lookup(family, word)
        assert id(part) in public, f"{part.__module__}.{part.__name__} is exported by no package"


def test_help_shows_the_public_names():
    import llmkit

    shown = pydoc.render_doc(llmkit, renderer=pydoc.plaintext)
    assert all(name in shown for name in llmkit.__all__)
    with pytest.raises(AttributeError, match="no attribute 'KnowlegeBase'; did you mean 'KnowledgeBase'"):
        _ = llmkit.KnowlegeBase
