"""No circle of imports of any kind, and SQL of a knowledge base only in the package of its store."""

from __future__ import annotations

import ast
import re

import pytest
from conftest import REPOSITORY

OTHER_DATABASES = {
    "llmkit.sqlite_file",  # opens SQLite files for those below
    "llmkit.agents.memory",
    "llmkit.models.response_cache",
    "llmkit.pipeline.agent.erase",
    "llmkit.pipeline.agent.memory",
    "llmkit.pipeline.chat.session_store",
    "llmkit.serve.storage.background_writer",
    "llmkit.serve.storage.feedback",
    "llmkit.serve.storage.pending_approvals",
    "llmkit.serve.storage.traces",
    "llmkit.serve.storage.uploads",
}
"""Modules that keep an SQLite file of their own; none of them is a knowledge base's."""
SQL = re.compile(
    r"\b(SELECT\b.+\bFROM|INSERT (OR \w+ )?INTO|UPDATE \w+ SET|DELETE FROM|CREATE (TEMP )?(TABLE|VIEW|INDEX)|PRAGMA)\b",
    re.DOTALL,
)


def modules():
    """Name and syntax tree of every module of llmkit."""
    found = {}
    for path in sorted((REPOSITORY / "llmkit").rglob("*.py")):
        parts = path.relative_to(REPOSITORY).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


MODULES = modules()


def imports(tree):
    """Modules of llmkit that a tree imports: at the top, under TYPE_CHECKING, and inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        if isinstance(node, ast.ImportFrom) and node.module:
            below = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name for name in below if name in MODULES)
            if node.module in MODULES and any(name not in MODULES for name in below):
                yield node.module


def circles(graph):
    """Sets of modules that reach one another (Tarjan 1972), each of two or more."""
    order, low, stack, found = {}, {}, [], []

    def visit(node):
        order[node] = low[node] = len(order)
        stack.append(node)
        for after in graph[node]:
            if after not in order:
                visit(after)
                low[node] = min(low[node], low[after])
            elif after in stack:
                low[node] = min(low[node], order[after])
        if low[node] == order[node]:
            one = []
            while not one or one[-1] != node:
                one.append(stack.pop())
            if len(one) > 1:
                found.append(sorted(one))

    for node in graph:
        if node not in order:
            visit(node)
    return found


def graph():
    """Imports among the modules of llmkit. A package's list of lazy names is not an import."""
    mine = {name for name in MODULES if not is_package(name)}
    return {name: {other for other in imports(MODULES[name]) if other in mine and other != name} for name in mine}


def is_package(name):
    return (REPOSITORY / name.replace(".", "/") / "__init__.py").exists()


def test_no_module_imports_itself_on_a_detour():
    assert circles(graph()) == []


def test_a_circle_would_be_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == [["b", "c"]]


@pytest.mark.parametrize("name", sorted(MODULES))
def test_sql_stands_only_where_a_database_is_kept(name):
    if name.startswith("llmkit.knowledge.local") or name in OTHER_DATABASES:
        return
    documentation = {
        id(node.body[0].value)
        for node in ast.walk(MODULES[name])
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and node.body
        if isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(MODULES[name]):
        if isinstance(node, ast.Import):
            assert "sqlite3" not in [alias.name for alias in node.names]
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            assert not SQL.search(node.value), f"{name}:{node.lineno}: {node.value[:60]}"


def test_nothing_outside_knows_the_local_store():
    """Whoever is outside of knowledge/ goes through KnowledgeBase, Snapshot and Store."""
    allowed = {"llmkit.training.data.corpus_index": {"llmkit.knowledge.local.lexical.index"}}
    for name, tree in MODULES.items():
        inside = name.startswith("llmkit.knowledge.local") or name == "llmkit.knowledge.knowledge_base"
        found = {one for one in imports(tree) if one.startswith("llmkit.knowledge.local")} - allowed.get(name, set())
        assert inside or not found, f"{name} imports {sorted(found)}"
