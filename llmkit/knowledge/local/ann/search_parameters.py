"""How many threads a search in FAISS is given.

FAISS lets all threads take part in one query and waits for the last of them. Where another program holds a CPU, that
wait is the system's time slice, many times the search itself. So few queries are searched by one thread.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_MANY = 8  # queries from which on each thread has enough of its own


def search(
    index: Any, queries: NDArray[np.float32], k: int, params: Any
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Scores and positions, both (n, k), of an index of FAISS's."""
    import faiss

    library: Any = faiss  # its stubs describe the C++ signatures, not the Python ones
    threads = library.omp_get_max_threads()
    library.omp_set_num_threads(threads if len(queries) >= _MANY else 1)  # of this thread's own searches
    try:
        scores, positions = index.search(queries, k, params=params)
    finally:
        library.omp_set_num_threads(threads)
    return scores, positions
