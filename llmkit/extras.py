"""Packages that come with an extra: imported when used, and missed in one sentence."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from llmkit.errors import MissingExtra


def need(module: str, *, feature: str, extra: str) -> ModuleType:
    """Import an optional package.

    Raises:
        MissingExtra: it is not installed; the message has the pip line. An ImportError from *inside* an
            installed package is not hidden.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name and module.split(".")[0] == error.name.split(".")[0]:
            raise MissingExtra(feature, error.name, extra) from error
        raise
