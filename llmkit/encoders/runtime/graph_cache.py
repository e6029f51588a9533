"""A cache of encoder graphs in ``LLMKIT_HOME/graphs``: each graph is built once for each model and setting."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from uuid import uuid4

from llmkit import weights

GRAPH_VERSION = 2  # a change here builds every graph again


def load_or_build_graph(files: Sequence[Path], settings: str, build: Callable[[], bytes]) -> tuple[Path, str]:
    """Return the ONNX file of a model and the SHA-256, hex, of the files that it was built from.

    Args:
        files: the weights. A graph is built again if a path, size or modification time differs.
        settings: everything else that shapes the graph.
        build: builds the graph if the cache does not have it.
    """
    versions = [f"{file.resolve()} {file.stat().st_size} {file.stat().st_mtime_ns}" for file in files]
    name = hashlib.sha256("\n".join([*versions, settings, str(GRAPH_VERSION)]).encode()).hexdigest()[:16]
    folder = weights.home() / "graphs" / name
    digest_file, graph = folder / "sha256", folder / "encoder.onnx"
    if not digest_file.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        digest = _digest(files)
        draft = folder / f"{uuid4().hex}.tmp"  # of this call alone: several threads or processes may build at once
        draft.write_bytes(build())
        draft.replace(graph)
        draft.write_text(digest, encoding="ascii")
        draft.replace(digest_file)
    return graph, digest_file.read_text(encoding="ascii")


def _digest(files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as content:
            while block := content.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
