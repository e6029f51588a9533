"""The log of the server: one JSON line for each request and each internal error.

A line holds ids, routes, statuses and times. It never holds a question, an answer, a file name, a key or the message of
an error.
"""

from __future__ import annotations

import json
import logging
import traceback
from datetime import UTC, datetime
from pathlib import Path

LOGGER = logging.getLogger("llmkit.serve")
_MAX_CHAIN, _MAX_FRAMES = 5, 8


def log_request(request_id: str, caller: str, method: str, route: str, status: int, seconds: float) -> None:
    """Log one request. `route` is the pattern of the path, because paths hold names."""
    if LOGGER.isEnabledFor(logging.INFO):
        ms = round(1000 * seconds, 1)
        LOGGER.info(_line(request=request_id, caller=caller, method=method, route=route, status=status, ms=ms))


def log_failure(request_id: str, error: BaseException) -> None:
    """Log an unexpected error: the types and code positions of its chain of causes, without their messages."""
    chain: list[dict[str, object]] = []
    link: BaseException | None = error
    while link is not None and len(chain) < _MAX_CHAIN:
        frames = traceback.extract_tb(link.__traceback__)[-_MAX_FRAMES:]
        places = [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]
        chain.append({"error": type(link).__name__, "at": places})
        link = link.__cause__ or link.__context__
    LOGGER.error(_line(request=request_id, failed=chain))


def log_to_stderr() -> None:
    """Write the log to stderr, where systemd and container engines collect it."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    LOGGER.handlers = [handler]
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False


def _line(**values: object) -> str:
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    return json.dumps({"at": at, **values}, ensure_ascii=True)
