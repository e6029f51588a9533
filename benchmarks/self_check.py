"""What the self-check of an encoder costs on this machine, and the reference vectors that come with llmkit.

python benchmarks/self_check.py            # each runtime and precision: verdict, milliseconds
python benchmarks/self_check.py --write    # llmkit/weights/references/minilm.json, by sentence-transformers
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from llmkit import cpu, weights
from llmkit.encoders.dual import DualEncoder
from llmkit.encoders.local import LocalEncoder
from llmkit.encoders.runtime.capabilities import every_candidate
from llmkit.encoders.runtime.selection import TEXTS, check
from llmkit.weights import store
from llmkit.weights.store import ReferenceVectors

ROUNDS = 5


def write() -> None:
    """Compute the vectors with sentence-transformers in float32 and print the line for the catalogue."""
    import sentence_transformers

    folder = weights.find("minilm")
    model = sentence_transformers.SentenceTransformer(str(folder), device="cpu")
    vectors = model.encode(list(TEXTS), normalize_embeddings=True)
    kept = ReferenceVectors(
        made_by=f"sentence-transformers {sentence_transformers.__version__}, float32",
        weights=weights.sha256(folder / "model.safetensors"),
        pooling="mean",
        texts=TEXTS,
        vectors=tuple(tuple(round(float(value), 6) for value in row) for row in vectors),
    )
    file = Path(store.__file__).parent / "references" / "minilm.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(kept.model_dump(), separators=(",", ":")) + "\n", encoding="utf-8")
    print(f'"reference": {{"file": "{file.name}", "sha256": "{hashlib.sha256(file.read_bytes()).hexdigest()}"}}')


def measure() -> None:
    """Check every runtime and precision from nothing, several times."""
    print(f"cpu {cpu.fingerprint()}: {', '.join(sorted(cpu.features() & cpu.RELEVANT))}; {cpu.threads()} threads")
    graph = LocalEncoder().checked_graph
    own = DualEncoder(model="minilm", precision="f32", pooling="cls")._towers[0].checked_graph
    _ = own.inputs
    start = time.perf_counter()
    own.reference(own.inputs)
    print(f"reference of weights that are not in the catalogue, by NumPy: {(time.perf_counter() - start) * 1e3:.0f} ms")
    for choice in every_candidate():
        found, used = [], []
        for _ in range(ROUNDS):
            with tempfile.TemporaryDirectory() as home:
                os.environ["LLMKIT_HOME"] = home
                verdict, run = check(choice, graph)
                found.append(verdict)
            assert run is not None
            start = time.process_time()
            run(graph.inputs, np.empty_like(graph.expected))
            used.append((time.process_time() - start) * 1e3)
        times = sorted(verdict.milliseconds for verdict in found)
        print(
            f"{choice.runtime} {choice.version} {choice.precision}: {found[0].measured}; "
            f"{times[len(times) // 2]:.0f} ms ({times[0]:.0f} to {times[-1]:.0f}) beyond loading, "
            f"{sorted(used)[ROUNDS // 2]:.0f} ms of processor time for the same texts again"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the reference vectors")
    write() if parser.parse_args().write else measure()
