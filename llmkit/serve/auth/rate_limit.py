"""Rate limits: one token bucket for each name."""

from __future__ import annotations

import math
import time

from llmkit.serve.errors import HttpError

_MAX_BUCKETS = 10_000  # beyond this number, full buckets are dropped first


class RateLimiter:
    """Token buckets that refill by the minute. A new bucket is full."""

    def __init__(self) -> None:
        self._buckets: dict[str, tuple[float, float, int]] = {}

    def take_token(self, name: str, rate: int) -> None:
        """Take one token from a bucket that gains `rate` tokens per minute.

        Raises:
            HttpError: 429, the bucket is empty; `retry_after` holds the seconds until the next token.
        """
        now = time.monotonic()
        tokens, updated, _ = self._buckets.get(name, (float(rate), now, rate))
        tokens = min(rate, tokens + (now - updated) * rate / 60)
        if tokens < 1:
            wait = math.ceil((1 - tokens) * 60 / rate)
            raise HttpError(429, f"the limit is {rate} requests per minute: try again in {wait} s", retry_after=wait)
        self._buckets[name] = tokens - 1, now, rate
        if len(self._buckets) > _MAX_BUCKETS:
            full = [
                bucket
                for bucket, (count, at, per_minute) in self._buckets.items()
                if count + (now - at) * per_minute / 60 >= per_minute
            ]
            for bucket in full or list(self._buckets)[: _MAX_BUCKETS // 2]:
                del self._buckets[bucket]
