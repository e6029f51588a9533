"""Counts text that addresses the assistant by the detection rules: false positives on real text, injections found.

    python benchmarks/addressed.py ../shared/data/qa/nq/corpus.jsonl.gz ../shared/data/documents
    python benchmarks/addressed.py --payloads text_attack_test.json          # of BIPIA, github.com/microsoft/BIPIA

Real text is a JSONL file of rows with `text`, or a folder of files of any kind, which are split into chunks as by
`llmkit ingest`. Payloads are a JSON object of lists of texts by kind; each is put behind a sentence of a document.
"""

from __future__ import annotations

import argparse
import gzip
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

from llmkit.encoders.hashing import HashingEncoder
from llmkit.knowledge.knowledge_base import KnowledgeBase
from llmkit.text.injection_detection import addressed

TOOLS = ("search", "calculator", "now", "convert", "table", "read_file", "write_file", "python")


def texts(path: Path) -> Iterator[tuple[str, str]]:
    """Name and text of every passage."""
    if path.is_dir():
        with (
            tempfile.TemporaryDirectory() as folder,
            KnowledgeBase.create(Path(folder) / "kb", encoder=HashingEncoder()) as kb,
        ):
            kb.ingest([path])
            for chunk in kb.chunks(kb.live_rows()):
                yield chunk.document, chunk.text
        return
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            yield str(row.get("id", row.get("_id"))), row["text"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="*", type=Path)
    parser.add_argument("--payloads", type=Path)
    parser.add_argument("--show", type=int, default=5, help="number of places to show for each path")
    arguments = parser.parse_args()
    for path in arguments.paths:
        total = found = 0
        for name, text in texts(path):
            total += 1
            places = addressed(text, TOOLS)
            found += bool(places)
            if places and found <= arguments.show:
                print(f"    {name}: {places[0].why}: {places[0].quote[:120]!r}")
        print(f"{path}: {found} of {total} passages")
    if arguments.payloads:
        for kind, lines in json.loads(arguments.payloads.read_text(encoding="utf-8")).items():
            found = sum(bool(addressed(f"The heater needs 14 litres of water. {line}")) for line in lines)
            print(f"{kind}: {found} of {len(lines)}")


if __name__ == "__main__":
    main()
