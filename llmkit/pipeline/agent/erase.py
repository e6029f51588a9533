"""Forgetting documents in what agents remember."""

from __future__ import annotations

from pathlib import Path

from llmkit.agents.memory import open_memory
from llmkit.knowledge.verbatim_search import Quotes
from llmkit.pipeline.agent.messages import remembered


def erase_memory(path: Path, quotes: Quotes) -> int:
    """Delete what is remembered of conversations that read some documents or quote them; returns of how many.

    The bytes are overwritten; the turns themselves are the session store's.

    Raises:
        DataError: the file cannot be used, or is of another version.
    """
    saver = open_memory(path)
    try:
        threads = [name for (name,) in saver.conn.execute("SELECT DISTINCT thread_id FROM checkpoints").fetchall()]
        dead = [name for name in threads if quotes.in_value([one.model_dump() for one in remembered(saver, name)])]
        for name in dead:
            saver.delete_thread(name)
        if dead:
            saver.conn.execute("VACUUM")
            saver.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return len(dead)
    finally:
        saver.conn.close()
