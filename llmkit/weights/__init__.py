"""Model files: what the defaults are, where they lie, and how to bring them. Nothing here opens a socket but `pull`."""

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
