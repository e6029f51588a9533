"""Model files: the catalogue of defaults, their folders, downloads and self-checks. Only `pull` opens a connection."""

from __future__ import annotations

from llmkit.weights.pull import pull
from llmkit.weights.store import Model, ModelStatus, catalogue, find, home, listing, reference_vectors, sha256, verify

__all__ = [
    "Model",
    "ModelStatus",
    "catalogue",
    "find",
    "home",
    "listing",
    "pull",
    "reference_vectors",
    "sha256",
    "verify",
]
