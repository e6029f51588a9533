"""How many threads the numerical runtimes are given."""

from __future__ import annotations

import os


def threads() -> int:
    """``OMP_NUM_THREADS``, or the CPUs this process may use."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    if given.isdigit() and int(given) > 0:
        return int(given)
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1
