"""The catalogue of default models, and the folders that hold them on this machine."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from llmkit.errors import ModelError, unknown

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_REFERENCES = Path(__file__).parent / "references"


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class File(_Entry):
    """One file of a model."""

    size: int
    """Bytes."""
    sha256: str


class Wheel(_Entry):
    """A wheel on a Python package index that contains the files as data. Its code is never run."""

    project: str
    file: str
    sha256: str
    size: int
    folder: str
    """Folder of the model's files inside the wheel."""


class Hub(_Entry):
    """A repository on the Hugging Face hub, at one revision."""

    repository: str
    revision: str


class Reference(_Entry):
    """Vectors that an encoder must give on every machine, in a file that comes with llmkit."""

    file: str
    """Below ``llmkit/weights/references``."""
    sha256: str


class ReferenceVectors(_Entry):
    """What a file of :class:`Reference` holds."""

    made_by: str
    """Library and version that computed the vectors, in float32."""
    weights: str
    """SHA-256 of the weights, hex."""
    pooling: str
    texts: tuple[str, ...]
    vectors: tuple[tuple[float, ...], ...]
    """One of unit length for each text."""


class Model(_Entry):
    """One default model: its source, and its files by path inside the model's folder."""

    name: str
    purpose: str
    licence: str
    entry: str
    """The file to open; empty if the model is the whole folder."""
    wheel: Wheel
    hub: Hub | None
    files: dict[str, File]
    reference: Reference | None = None
    """For an encoder: vectors that prove a runtime."""

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(file.size for file in self.files.values())

    @property
    def folder(self) -> Path:
        """The folder of the model once it is downloaded."""
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
        ModelError: the name is unknown; the message lists the known ones.
    """
    found = catalogue().get(name)
    if found is None:
        raise ModelError(f"{unknown('model', name, catalogue())}, or give the path of a file or folder")
    return found


def find(name: str) -> Path:
    """The file or folder of a model, given by its name in the catalogue or by a path.

    Raises:
        ModelError: it is not on this machine; the message gives the command that downloads it.
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


def reference_vectors(digest: str, pooling: str) -> NDArray[np.float32] | None:
    """Vectors that the weights with this SHA-256 must give for the texts of the self-check; None: there are none.

    Raises:
        ModelError: the file with the vectors was changed.
    """
    import numpy as np

    for entry in catalogue().values():
        weights = entry.files.get("model.safetensors")
        if entry.reference is None or weights is None or weights.sha256 != digest:
            continue
        file = _REFERENCES / entry.reference.file
        content = file.read_bytes()
        if hashlib.sha256(content).hexdigest() != entry.reference.sha256:
            raise ModelError(f"{file} is not the file that came with llmkit: install llmkit again")
        kept = ReferenceVectors.model_validate_json(content)
        return np.array(kept.vectors, dtype=np.float32) if kept.pooling == pooling else None
    return None


def listing() -> list[ModelStatus]:
    """Every model of the catalogue, and whether its files are present with the right sizes; contents are not read."""
    return [
        ModelStatus(entry.name, entry.purpose, entry.licence, entry.size, _complete(entry), entry.folder / entry.entry)
        for entry in catalogue().values()
    ]


def verify(name: str) -> list[str]:
    """One message for each file that is missing or whose SHA-256 differs from the catalogue's; empty if none is."""
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
