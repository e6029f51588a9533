"""Whether a model that transformers loaded has all of its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llmkit.errors import ModelError


def complete(folder: Path, found: dict[str, Any]) -> None:
    """Refuse a base that lacks weights: transformers makes them up and goes on.

    Args:
        folder: for the message.
        found: what ``from_pretrained`` gives with ``output_loading_info``.

    Raises:
        ModelError: names some of them.
    """
    missing = sorted(map(str, found["missing_keys"]))
    if missing:
        raise ModelError(
            f"{folder} lacks {len(missing)} tensors of its architecture, which would be random: "
            f"{', '.join(missing[:3])}; bring its files anew"
        )
