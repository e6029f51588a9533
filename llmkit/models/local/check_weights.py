"""A check that a model which transformers loaded has all of its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llmkit.errors import ModelError


def require_all_weights(folder: Path, found: dict[str, Any]) -> None:
    """Refuse a base model that lacks weights; transformers would fill them with random numbers.

    Args:
        folder: for the message.
        found: the second value of ``from_pretrained(…, output_loading_info=True)``.

    Raises:
        ModelError: names some of them.
    """
    missing = sorted(map(str, found["missing_keys"]))
    if missing:
        raise ModelError(
            f"{folder} lacks {len(missing)} tensors of its architecture, which would be random: "
            f"{', '.join(missing[:3])}; bring its files anew"
        )
