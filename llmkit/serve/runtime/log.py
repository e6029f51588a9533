"""Lines of JSON about requests: who, which route, how it ended. Never a question, a file's name, a key, a message."""

from __future__ import annotations

import json
import logging
import traceback
from datetime import UTC, datetime
from pathlib import Path

LOGGER = logging.getLogger("llmkit.serve")


def access(request: str, caller: str, method: str, route: str, status: int, seconds: float) -> None:
    """One request; `route` is a pattern, not a path, since paths hold names."""
    if LOGGER.isEnabledFor(logging.INFO):
        ms = round(1000 * seconds, 1)
        LOGGER.info(_line(request=request, caller=caller, method=method, route=route, status=status, ms=ms))


def failure(request: str, error: BaseException) -> None:
    """What should not have happened: kinds and places of a chain of errors, without their texts."""
    chain: list[dict[str, object]] = []
    one: BaseException | None = error
    while one is not None and len(chain) < 5:
        frames = traceback.extract_tb(one.__traceback__)[-8:]
        places = [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]
        chain.append({"error": type(one).__name__, "at": places})
        one = one.__cause__ or one.__context__
    LOGGER.error(_line(request=request, failed=chain))


def to_stderr() -> None:
    """Write the lines to stderr, as systemd and containers want them."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    LOGGER.handlers = [handler]
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False


def _line(**values: object) -> str:
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    return json.dumps({"at": at, **values}, ensure_ascii=True)
