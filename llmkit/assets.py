"""The data folders of pipelines, prompts and eval files: how a name becomes a file.

A name is looked up in this order: as a path, in ``./KIND/``, in the folder that came with llmkit.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from llmkit.errors import ConfigError, unknown

Kind = Literal["pipelines", "prompts", "eval"]
KINDS: tuple[Kind, ...] = ("pipelines", "prompts", "eval")

_PACKAGE = Path(__file__).resolve().parent


def folders(kind: Kind) -> list[Path]:
    """The existing folders of a kind: the one in the working directory first, then the shipped one."""
    candidates = [Path.cwd() / kind, shipped(kind)]
    return list(dict.fromkeys(folder.resolve() for folder in candidates if folder.is_dir()))


def shipped(kind: Kind) -> Path:
    """The folder of a kind that came with llmkit: inside the wheel, or beside the package in a checkout."""
    inside = _PACKAGE / "_assets" / kind
    return inside if inside.is_dir() else _PACKAGE.parent / kind


def find(kind: Kind, name: str, suffix: str = ".yaml") -> Path:
    """The file of a name.

    Args:
        kind: which data folder.
        name: a path, or a name below the folder, with or without the suffix.
        suffix: suffix of the files of this kind.

    Raises:
        ConfigError: there is no such file, or the name leaves the folder. The message lists the places that were
            searched and the near names.
    """
    given = Path(name).expanduser()
    if given.is_file():
        return given
    searched = [str(given)]
    for folder in folders(kind):
        for candidate in (folder / name, folder / f"{name}{suffix}"):
            if not candidate.resolve().is_relative_to(folder):
                continue
            searched.append(str(candidate))
            if candidate.is_file():
                return candidate
    # the message for `experiments/mine` suggests names of experiments only
    below, _, last = name.rpartition("/") if kind == "eval" else ("", "", name)
    there = [one for one in known(kind, suffix) if one.startswith(f"{below}/") or not below]
    if there:
        hint = unknown((below or kind).removesuffix("s"), last, [one.removeprefix(f"{below}/") for one in there])
    else:
        hint = unknown(kind.removesuffix("s"), name, known(kind, suffix))
    raise ConfigError(f"{hint}\nsearched: " + "\n          ".join(searched))


def known(kind: Kind, suffix: str = ".yaml") -> list[str]:
    """Names of all files of a kind, sorted, without the suffix."""
    return sorted({name for folder in folders(kind) for name in _names(folder, suffix)})


def copy_out(target: Path) -> list[Path]:
    """Copy the shipped folders into `target` for editing; existing files are kept.

    Returns:
        The files written.
    """
    written = []
    for kind in KINDS:
        source = shipped(kind)
        for file in sorted(path for path in source.rglob("*") if path.is_file() and not path.name.startswith(".")):
            copy = target / kind / file.relative_to(source)
            if not copy.exists():
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, copy)
                written.append(copy)
    return written


def _names(folder: Path, suffix: str) -> Iterator[str]:
    for path in folder.rglob(f"*{suffix}"):
        yield path.relative_to(folder).as_posix().removesuffix(suffix)
