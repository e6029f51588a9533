"""LlamaIndex: HuggingFaceEmbedding + VectorStoreIndex with its default in-memory store.

Usage: llama_index.py PASSAGES.jsonl MODEL_FOLDER OUT_FOLDER THREADS QUERIES.jsonl
Prints one JSON object.
"""

import json
import sys
import time

import torch

passages_file, model, out, threads, queries_file = sys.argv[1:]
torch.set_num_threads(int(threads))
sys.path.pop(0)  # this file has the package's name

from llama_index.core import VectorStoreIndex
from llama_index.core.schema import TextNode
from llama_index.embeddings.huggingface import HuggingFaceEmbedding

rows = [json.loads(line) for line in open(passages_file, encoding="utf-8")]
embeddings = HuggingFaceEmbedding(model_name=model, device="cpu")
embeddings.get_query_embedding("warm up")

started = time.perf_counter()
nodes = [TextNode(text=f"{r['title']}\n{r['text']}".strip(), id_=r["id"]) for r in rows]
index = VectorStoreIndex(nodes, embed_model=embeddings)
seconds = time.perf_counter() - started

retriever = index.as_retriever(similarity_top_k=10)
times = []
for line in open(queries_file, encoding="utf-8"):
    begun = time.perf_counter()
    retriever.retrieve(json.loads(line)["text"])
    times.append(time.perf_counter() - begun)
times.sort()
print(json.dumps({"passages": len(rows), "seconds": seconds, "query_p50_ms": 1000 * times[len(times) // 2]}))
