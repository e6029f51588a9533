"""LangChain: HuggingFaceEmbeddings + FAISS, as its documentation shows, saved to disk.

Usage: langchain_faiss.py PASSAGES.jsonl MODEL_FOLDER OUT_FOLDER THREADS QUERIES.jsonl
Prints one JSON object.
"""

import json
import sys
import time

import torch

passages_file, model, out, threads, queries_file = sys.argv[1:]
torch.set_num_threads(int(threads))

from langchain_community.vectorstores import FAISS
from langchain_core.documents import Document
from langchain_huggingface import HuggingFaceEmbeddings

rows = [json.loads(line) for line in open(passages_file, encoding="utf-8")]
embeddings = HuggingFaceEmbeddings(model_name=model, encode_kwargs={"normalize_embeddings": True})
embeddings.embed_query("warm up")

started = time.perf_counter()
documents = [Document(f"{r['title']}\n{r['text']}".strip(), metadata={"id": r["id"]}) for r in rows]
store = FAISS.from_documents(documents, embeddings)
store.save_local(out)
seconds = time.perf_counter() - started

times = []
for line in open(queries_file, encoding="utf-8"):
    begun = time.perf_counter()
    store.similarity_search(json.loads(line)["text"], k=10)
    times.append(time.perf_counter() - begun)
times.sort()
print(json.dumps({"passages": len(rows), "seconds": seconds, "query_p50_ms": 1000 * times[len(times) // 2]}))
