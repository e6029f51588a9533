"""Public names of a package, imported when they are first used (PEP 562).

A package's ``__init__`` lists its names once for type checkers, under ``TYPE_CHECKING``, and once in a table::

    __getattr__, __dir__, __all__ = lazy_names(__name__, {"retrieve": ["Retrieve"]})

so that ``import llmkit.retrieval`` costs nothing, and ``from llmkit.retrieval import BM25`` imports one module.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing itself is imported by nothing here: every package imports this module
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


def lazy_names(
    package: str, table: Mapping[str, Sequence[str]], *, moved: Mapping[str, str] | None = None
) -> tuple[Callable[[str], object], Callable[[], list[str]], list[str]]:
    """``__getattr__``, ``__dir__`` and ``__all__`` of a package.

    Args:
        package: its ``__name__``.
        table: public names by the module that defines them: relative to the package, or absolute if it starts
            with ``llmkit.``. ``"train as train_lora"`` renames one. A name must not be that of a submodule: once the
            submodule is imported, Python returns it instead.
        moved: names that were here in an earlier release, by the module that has them now; they still load, with a
            DeprecationWarning.
    """
    home: dict[str, tuple[str, str]] = {}
    for module, entries in table.items():
        for entry in entries:
            name, _, alias = entry.partition(" as ")
            home[alias or name] = (module if module.startswith("llmkit.") else f"{package}.{module}", name)
    names = sorted(home)

    def load(name: str) -> object:
        from importlib import import_module  # here, since it alone costs 8 ms of `import llmkit`

        if moved and name in moved:
            return _moved(package, name, moved[name])
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}" + _hint(name, names))
        module, original = home[name]
        return getattr(import_module(module), original)

    return load, lambda: names, names


def _moved(package: str, name: str, module: str) -> object:
    """A name from its new module, with a warning that gives the import to write."""
    import warnings
    from importlib import import_module

    warnings.warn(
        f"{package}.{name} has moved and will be removed in the next release: write `from {module} import {name}`",
        DeprecationWarning,
        stacklevel=3,
    )
    return getattr(import_module(module), name)


def _hint(name: str, names: Sequence[str]) -> str:
    """``; did you mean 'BM25'?`` where a public name is near, empty otherwise. Dunder names are Python's own."""
    from difflib import get_close_matches

    near = [] if name.startswith("_") else get_close_matches(name, names, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
