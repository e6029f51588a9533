"""How often somebody may ask: a bucket that fills by the minute."""

from __future__ import annotations

import math
import time

from llmkit.serve.auth.principal import Refused

_MOST = 10_000  # buckets; full ones are forgotten first


class Pace:
    """One bucket a name, full at first."""

    def __init__(self) -> None:
        self._buckets: dict[str, tuple[float, float, int]] = {}

    def step(self, name: str, rate: int) -> None:
        """Take one of `rate` a minute.

        Raises:
            Refused: 429, there is none left; with the seconds until there is.
        """
        now = time.monotonic()
        left, at, _ = self._buckets.get(name, (float(rate), now, rate))
        left = min(rate, left + (now - at) * rate / 60)
        if left < 1:
            wait = math.ceil((1 - left) * 60 / rate)
            raise Refused(429, f"{rate} requests a minute are allowed: try again in {wait} s", retry_after=wait)
        self._buckets[name] = left - 1, now, rate
        if len(self._buckets) > _MOST:
            full = [one for one, (had, then, each) in self._buckets.items() if had + (now - then) * each / 60 >= each]
            for one in full or list(self._buckets)[: _MOST // 2]:
                del self._buckets[one]
