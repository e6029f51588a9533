"""The process that parses: requests in on stdin, answers out on stdout, one JSON object a line.

It can be killed at any moment. What it may cost is limited here, from inside, where the system knows how:
address space, and an alarm that ends it even where the parent is gone.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from llmkit.text.formats.limits import Limits
from llmkit.text.loading.parse import Parsed, parse
from llmkit.types import Block, Document


def main() -> None:
    """Serve until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)  # what a library prints is not an answer
    limits = Limits(**json.loads(sys.stdin.readline()))
    _confine(limits)
    for line in sys.stdin:
        request = json.loads(line)
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, limits.max_seconds + 10)
        parsed = parse(Path(request["path"]), request["id"], limits)
        answers.write(_dump(parsed))
        answers.write("\n")
        answers.flush()
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)


def _confine(limits: Limits) -> None:
    try:
        import resource
    except ImportError:  # not a POSIX system: the time limit is left
        return
    for name, value in (("RLIMIT_AS", limits.max_memory), ("RLIMIT_CORE", 0)):
        kind = getattr(resource, name)
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        try:
            resource.setrlimit(kind, (value, hard))
        except (OSError, ValueError):  # macOS refuses address-space limits
            continue


def _dump(parsed: Parsed) -> str:
    documents = [
        [d.id, d.text, d.title, d.metadata, [dataclasses.astuple(block) for block in d.blocks], d.notes]
        for d in parsed.documents
    ]
    try:
        return json.dumps([parsed.kind, parsed.status, parsed.reason, documents])
    except (MemoryError, RecursionError, TypeError, ValueError) as error:
        return json.dumps([parsed.kind, "failed", f"its metadata cannot be passed on: {type(error).__name__}", []])


def undump(line: str) -> Parsed:
    """The answer a worker wrote."""
    kind, status, reason, documents = json.loads(line)
    return Parsed(kind, status, reason, tuple(_document(*fields) for fields in documents))


def _document(id: str, text: str, title: str, metadata: Any, blocks: Any, notes: Any) -> Document:
    made = tuple(
        Block(start, end, kind, level, tuple(heading), page, part)
        for start, end, kind, level, heading, page, part in blocks
    )
    return Document(id, text, title, metadata, made, tuple(notes))
