"""JSON of responses, events and stored rows: always valid UTF-8."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def encode_json(value: object, default: Callable[[Any], Any] | None = None) -> bytes:
    """Return a value as JSON on one line, in UTF-8.

    UTF-8 cannot express a lone surrogate, which clients and model servers produce when they cut a character in two.
    Each one is replaced by U+FFFD.

    Args:
        value: what :func:`json.dumps` can write.
        default: converts other values, as for :func:`json.dumps`.

    Raises:
        TypeError: a value cannot be written.
    """
    return replace_surrogates(json.dumps(value, ensure_ascii=False, default=default)).encode()


def replace_surrogates(text: str) -> str:
    """Return a text with U+FFFD in place of each lone surrogate."""
    return text if text.isascii() else _LONE_SURROGATE.sub("\ufffd", text)
