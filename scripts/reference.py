"""Write docs/reference.md from the docstrings: every public name of every package.

``python scripts/reference.py`` writes the page; with ``--check`` it fails where the page is out of date.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parent.parent / "docs" / "reference.md"
HEAD = """# Reference

Every public name, made from the docstrings by `python scripts/reference.py`. `help(NAME)` has the whole text:
arguments, shapes, units and errors. [python.md](python.md) is the guide.
"""
LEFT_OUT = ("llmkit.cli", "llmkit.tasks")
"""Packages that nobody imports: the commands, and the tasks of papers."""


def build() -> str:
    """The page."""
    import llmkit

    sections = [HEAD]
    packages = [info.name for info in pkgutil.walk_packages(llmkit.__path__, "llmkit.") if info.ispkg]
    for name in ["llmkit", *sorted(packages)]:
        package = importlib.import_module(name)
        names = [one for one in getattr(package, "__all__", ()) if not name.startswith(LEFT_OUT)]
        if names:
            lines = [f"## {name}", "", _first(package), ""]
            for one in names:
                lines += _entry(one, getattr(package, one), name)
            sections.append("\n".join(lines) + "\n")
    return "\n".join(sections)


def _entry(name: str, thing: Any, package: str) -> list[str]:
    """The lines of one name. What a package above has described already is one line."""
    home = getattr(thing, "__module__", "") or ""
    above = package.rpartition(".")[0]
    upper = importlib.import_module(above) if above else None
    if home.startswith("llmkit") and name in getattr(upper, "__all__", ()) and getattr(upper, name) is thing:
        return [f"- **{name}**: see {above}"]
    if inspect.isclass(thing):
        return [f"- **{name}**{_fields(thing)}: {_first(thing)}", *_methods(thing)]
    if callable(thing):
        return [f"- **{name}**`{_signature(thing)}`: {_first(thing)}"]
    return [f"- **{name}**"]


def _fields(thing: Any) -> str:
    """What the class is made with, by name."""
    if hasattr(thing, "model_fields") and not hasattr(thing, "lc_attributes"):
        return "`(" + ", ".join(thing.model_fields) + ")`" if thing.model_fields else ""
    if "__init__" not in vars(thing):
        return ""
    return f"`({', '.join(p for p in inspect.signature(thing).parameters)})`"


def _methods(thing: Any) -> list[str]:
    """A line for each public method that the class itself defines."""
    lines = []
    for name, member in vars(thing).items():
        if name.startswith("_"):
            continue
        function = getattr(member, "__func__", member)
        if inspect.isfunction(function) and function.__doc__:
            lines.append(f"  - `{name}{_signature(function)}` {_first(function)}")
        elif isinstance(member, property) and member.__doc__:
            lines.append(f"  - `{name}` {_first(member)}")
    return lines


def _signature(function: Any) -> str:
    """Names of the parameters, with a star before those that are given by name only."""
    parts: list[str] = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in "".join(parts):
            parts.append("*")
        if parameter.name not in ("self", "cls"):
            prefix = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
            parts.append(prefix + parameter.name)
    return f"({', '.join(parts)})"


def _first(thing: Any) -> str:
    """The first paragraph of a docstring, on one line."""
    text = inspect.getdoc(thing) or ""
    return " ".join(text.partition("\n\n")[0].split()).replace("|", "\\|")


if __name__ == "__main__":
    page = build()
    if "--check" in sys.argv[1:]:
        sys.exit(0 if PAGE.read_text(encoding="utf-8") == page else "docs/reference.md is out of date: run this script")
    PAGE.write_text(page, encoding="utf-8")
