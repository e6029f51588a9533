"""The default models, and where they lie on this machine."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from llmkit.errors import ModelError, unknown


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class File(_Entry):
    """One file of a model."""

    size: int
    """Bytes."""
    sha256: str


class Wheel(_Entry):
    """A wheel on a Python package index that carries the files as data; none of its code is ever run."""

    project: str
    file: str
    sha256: str
    size: int
    folder: str
    """Folder inside the wheel that the model's files lie in."""


class Hub(_Entry):
    """A repository on the Hugging Face hub, at one revision."""

    repository: str
    revision: str


class Model(_Entry):
    """One default model: its files, by path inside the model's folder, and where they come from."""

    name: str
    purpose: str
    licence: str
    entry: str
    """The file to open, or empty where the model is the folder."""
    wheel: Wheel
    hub: Hub | None
    files: dict[str, File]

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(file.size for file in self.files.values())

    @property
    def folder(self) -> Path:
        """Where the model lies once pulled."""
        return home() / "models" / self.name


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """A line of ``llmkit models list``."""

    name: str
    purpose: str
    licence: str
    size: int
    """Bytes on disk."""
    present: bool
    path: Path


def home() -> Path:
    """``LLMKIT_HOME``, or the user's cache folder for llmkit."""
    given = os.environ.get("LLMKIT_HOME")
    if given:
        return Path(given).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("llmkit", appauthor=False)


@cache
def catalogue() -> dict[str, Model]:
    """The default models by name."""
    raw = json.loads((Path(__file__).parent / "catalogue.json").read_text(encoding="utf-8"))
    return {name: Model(name=name, **fields) for name, fields in raw.items()}


def model(name: str) -> Model:
    """The catalogue's entry.

    Raises:
        ModelError: an unknown name; says the known ones.
    """
    found = catalogue().get(name)
    if found is None:
        raise ModelError(f"{unknown('model', name, catalogue())}, or give the path of a file or folder")
    return found


def find(name: str) -> Path:
    """The file or folder of a model: a name of the catalogue, or a path of your own.

    Raises:
        ModelError: not there; says which command brings it.
    """
    path = Path(name).expanduser()
    if name not in catalogue() and path.exists():
        return path
    if name not in catalogue() and (path.suffix or len(path.parts) > 1):
        raise ModelError(f"no model at {path}: the path does not exist")
    entry = model(name)
    missing = [file for file in entry.files if not (entry.folder / file).is_file()]
    if missing:
        raise ModelError(
            f"the model {name!r} is not on this machine ({entry.size / 1e6:.0f} MB, {entry.licence}): "
            f"run `llmkit models pull {name}`"
        )
    return entry.folder / entry.entry


def listing() -> list[ModelStatus]:
    """Every model of the catalogue, and whether its files are there (sizes compared, contents not read)."""
    return [
        ModelStatus(entry.name, entry.purpose, entry.licence, entry.size, _complete(entry), entry.folder / entry.entry)
        for entry in catalogue().values()
    ]


def verify(name: str) -> list[str]:
    """Files of a model that are missing or differ from the catalogue's SHA-256; empty means all is well."""
    entry = model(name)
    wrong = []
    for file, expected in entry.files.items():
        path = entry.folder / file
        if not path.is_file():
            wrong.append(f"{path} is missing")
        elif sha256(path) != expected.sha256:
            wrong.append(f"{path} is not the file of the catalogue: delete it and run `llmkit models pull {name}`")
    return wrong


def sha256(path: Path) -> str:
    """SHA-256 of a file, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _complete(entry: Model) -> bool:
    return all(
        (entry.folder / file).is_file() and (entry.folder / file).stat().st_size == expected.size
        for file, expected in entry.files.items()
    )
