"""The three data folders: where a pipeline, a prompt or an eval file is found.

Looked at in this order: the path as given, ``./KIND/``, the checkout llmkit runs from, the installed wheel.
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
    """The folders of that kind that exist, nearest first, each once."""
    candidates = [Path.cwd() / kind, shipped(kind)]
    return list(dict.fromkeys(folder.resolve() for folder in candidates if folder.is_dir()))


def shipped(kind: Kind) -> Path:
    """The folder of that kind that came with llmkit: inside the wheel, else beside the checkout's package."""
    inside = _PACKAGE / "_assets" / kind
    return inside if inside.is_dir() else _PACKAGE.parent / kind


def find(kind: Kind, name: str, suffix: str = ".yaml") -> Path:
    """The file of that name.

    Args:
        kind: which data folder.
        name: a path, or a name below the folder, with or without the suffix.
        suffix: what files of this kind end in.

    Raises:
        ConfigError: not found (says where it looked and what is there), or a name that leaves the folder.
    """
    given = Path(name).expanduser()
    if given.is_file():
        return given
    looked = [str(given)]
    for folder in folders(kind):
        for candidate in (folder / name, folder / f"{name}{suffix}"):
            if not candidate.resolve().is_relative_to(folder):
                continue
            looked.append(str(candidate))
            if candidate.is_file():
                return candidate
    # `experiments/mine` is looked for as the experiment `mine`, among experiments
    below, _, last = name.rpartition("/") if kind == "eval" else ("", "", name)
    there = [one for one in known(kind, suffix) if one.startswith(f"{below}/") or not below]
    if there:
        hint = unknown((below or kind).removesuffix("s"), last, [one.removeprefix(f"{below}/") for one in there])
    else:
        hint = unknown(kind.removesuffix("s"), name, known(kind, suffix))
    raise ConfigError(f"{hint}\nlooked at: " + "\n           ".join(looked))


def known(kind: Kind, suffix: str = ".yaml") -> list[str]:
    """Names of the files of that kind, sorted, without the suffix."""
    return sorted({name for folder in folders(kind) for name in _names(folder, suffix)})


def copy_out(target: Path) -> list[Path]:
    """Copy the shipped folders into `target` for editing; files that exist are left alone.

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
