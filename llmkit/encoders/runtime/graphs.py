"""Graphs are built once a model and kept below the home folder, known by the files they were built from."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from llmkit import weights

_FORM = 2  # of the graphs: a change here builds them anew


def kept_graph(files: Sequence[Path], settings: str, build: Callable[[], bytes]) -> tuple[Path, str]:
    """The ONNX file of a model, and the SHA-256 of the files it was built from, in order.

    Args:
        files: what the graph depends on; path, size and time of change tell whether they are the same.
        settings: what else shapes the graph.
        build: makes it, where it is not kept.
    """
    seen = [f"{file.resolve()} {file.stat().st_size} {file.stat().st_mtime_ns}" for file in files]
    name = hashlib.sha256("\n".join([*seen, settings, str(_FORM)]).encode()).hexdigest()[:16]
    folder = weights.home() / "graphs" / name
    digest_file, graph = folder / "sha256", folder / "encoder.onnx"
    if not digest_file.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        digest = _digest(files)
        made = folder / f"encoder.{os.getpid()}.tmp"
        made.write_bytes(build())
        made.replace(graph)
        digest_file.write_text(digest, encoding="ascii")
    return graph, digest_file.read_text(encoding="ascii")


def _digest(files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as content:
            while block := content.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
