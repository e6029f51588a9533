"""Ingest and query beside the peers, same weights, same passages, same threads, interleaved rounds.

    make bench-peers        # or: python benchmarks/ingest.py --peers PYTHON_OF_THE_PEERS

Passages: NQ and Cranfield, 3,303 in all. Each candidate runs in a process of its own; a round runs all of them in
turn; medians over the rounds. Model loading is outside the clock, everything from text to a searchable (ours and
LangChain's: saved) index inside. `--worker` is how the script calls itself for llmkit.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from retrieval import rows

HERE = Path(__file__).resolve().parent


def worker(passages: str, out: str, queries: str) -> None:
    from llmkit import config
    from llmkit.encoders.local import LocalEncoder
    from llmkit.knowledge.knowledge_base import KnowledgeBase

    encoder = LocalEncoder()
    encoder.encode_queries(["warm up"])
    with KnowledgeBase.create(out, encoder=encoder) as kb:
        started = time.perf_counter()
        summary = kb.ingest([passages])
        seconds = time.perf_counter() - started
        result = {"passages": summary.documents, "chunks": summary.chunks, "seconds": seconds}
        asked = [json.loads(line)["text"] for line in open(queries, encoding="utf-8")]
        for name in ("dense", "hybrid"):
            retriever = config.build_part("retriever", name)
            retriever.retrieve(kb, asked[:3], 10)
            times = []
            for query in asked:
                begun = time.perf_counter()
                retriever.retrieve(kb, [query], 10)
                times.append(time.perf_counter() - begun)
            result["query_p50_ms" if name == "dense" else "hybrid_p50_ms"] = 1000 * statistics.median(times)
    print(json.dumps(result))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--worker", nargs=3)
    arguments.add_argument("--peers", default=str(HERE / ".venv" / "bin" / "python"))
    arguments.add_argument(
        "--data", type=Path, default=os.environ.get("LLMKIT_DATA") or HERE.parent.parent / "shared" / "data"
    )
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--candidates", default="llmkit,langchain,llama-index")
    given = arguments.parse_args()
    if given.worker:
        worker(*given.worker)
        return
    from llmkit import weights

    scratch = Path(tempfile.mkdtemp(prefix="llmkit-bench-"))
    passages, queries = scratch / "passages.jsonl", scratch / "queries.jsonl"
    with passages.open("w") as file:
        for name, corpus in (("nq", "qa/nq"), ("cranfield", "ir/cranfield")):
            for row in rows(Path(given.data) / corpus / "corpus.jsonl.gz"):
                identity = row.get("id", row.get("_id"))
                if row["text"].strip():
                    file.write(
                        json.dumps({"id": f"{name}-{identity}", "title": row["title"], "text": row["text"]}) + "\n"
                    )
    with queries.open("w") as file:
        for row in rows(Path(given.data) / "qa/nq/dev.jsonl")[:200]:
            file.write(json.dumps({"text": row["question"]}) + "\n")
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(given.threads),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    model = str(weights.find("minilm"))
    commands = {
        "llmkit": lambda out: [sys.executable, __file__, "--worker", passages, out, queries],
        "langchain": lambda out: [
            given.peers,
            HERE / "peers/langchain_faiss.py",
            passages,
            model,
            out,
            given.threads,
            queries,
        ],
        "llama-index": lambda out: [
            given.peers,
            HERE / "peers/llama_index.py",
            passages,
            model,
            out,
            given.threads,
            queries,
        ],
    }
    commands = {name: commands[name] for name in given.candidates.split(",")}
    found: dict[str, list[dict]] = {name: [] for name in commands}
    for number in range(given.rounds):
        for name, command in commands.items():
            out = scratch / f"{name}-{number}"
            done = subprocess.run([str(word) for word in command(out)], env=environment, capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(f"{name} failed:\n{done.stderr[-2000:]}")
            result = json.loads(done.stdout.splitlines()[-1])
            found[name].append(result)
            print(
                f"round {number + 1} {name:<12} {result['passages'] / result['seconds']:7.1f} passages/s  {result}",
                flush=True,
            )
    shutil.rmtree(scratch)
    print(f"\nmedians of {given.rounds} rounds, {given.threads} threads")
    ours = statistics.median(r["passages"] / r["seconds"] for r in found["llmkit"])
    for name, results in found.items():
        rate = statistics.median(r["passages"] / r["seconds"] for r in results)
        query = statistics.median(r["query_p50_ms"] for r in results)
        print(f"  {name:<12} {rate:7.1f} passages/s   llmkit is {ours / rate:.2f}x   query p50 {query:.1f} ms")


if __name__ == "__main__":
    main()
