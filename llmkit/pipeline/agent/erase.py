"""Erases documents from the memory of agents."""

from __future__ import annotations

from pathlib import Path

from llmkit.agents.memory import open_memory
from llmkit.knowledge.verbatim_search import Quotes
from llmkit.pipeline.agent.messages import load_messages


def erase_memory(path: Path, quotes: Quotes) -> int:
    """Delete the memory of conversations that read or quote some documents.

    The bytes are overwritten. The turns of the conversations are in the session store and are not touched here.

    Returns:
        The number of conversations.

    Raises:
        DataError: the file cannot be used, or another version of llmkit wrote it.
    """
    saver = open_memory(path)
    try:
        threads = [name for (name,) in saver.conn.execute("SELECT DISTINCT thread_id FROM checkpoints").fetchall()]
        matching = [
            name for name in threads if quotes.in_value([one.model_dump() for one in load_messages(saver, name)])
        ]
        for name in matching:
            saver.delete_thread(name)
        if matching:
            saver.conn.execute("VACUUM")
            saver.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return len(matching)
    finally:
        saver.conn.close()
