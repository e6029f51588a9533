"""Writes what LangChain's `FAISS.save_local` writes, without langchain-community: the same classes under the same names."""

from __future__ import annotations

import pickle
import sys
import types

import faiss


class InMemoryDocstore:
    def __init__(self, _dict):
        self._dict = _dict


def save_local(folder, vectors, documents, *, ids=None, metric="l2", protocol=None, places=None):
    """`documents` are langchain_core's; `places` instead of 0..n-1 to ids. The pickle is what LangChain 0.4.2 writes."""
    module = "langchain_community.docstore.in_memory"
    folder.mkdir(parents=True, exist_ok=True)
    ids = ids or [f"id-{n}" for n in range(len(documents))]
    index = faiss.IndexFlatL2(vectors.shape[1]) if metric == "l2" else faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    faiss.write_index(index, str(folder / "index.faiss"))
    InMemoryDocstore.__module__ = module
    shadow = types.ModuleType(module)
    shadow.InMemoryDocstore = InMemoryDocstore
    parents = {name: types.ModuleType(name) for name in ("langchain_community", "langchain_community.docstore")}
    sys.modules.update({**parents, module: shadow})
    try:
        store = InMemoryDocstore(dict(zip(ids, documents, strict=True)))
        places = dict(enumerate(ids)) if places is None else places
        (folder / "index.pkl").write_bytes(pickle.dumps((store, places), protocol=protocol))
    finally:
        for name in (*parents, module):
            sys.modules.pop(name)
