"""One vector store does one thing in a process of its own, for benchmarks/stores.py.

    python stores.py STORE ACTION DATA FOLDER [ARGUMENT]

STORE is one of those below, ACTION build, query, delete, more, look. DATA holds vectors.npy, texts.json, shelves.npy,
queries.npy and truth.npz, FOLDER is the store's own. Prints one JSON object.
"""

import json
import os
import sys
import time
from pathlib import Path

import numpy as np

K = 10
SECONDS = 6.0  # of queries for one figure; at least 10 queries are asked
ENOUGH = 0.95  # recall that a setting must reach to be taken
FILTERS = {"none": None, "1%": ("shelf", 7), "50%": ("half", 0)}


class LangChainFaiss:
    """FAISS.save_local, as its documentation shows. A filter is applied to the fetch_k nearest."""

    ladder = {"none": (20,), "1%": (20, 200, 2000, 20000, 200000), "50%": (20, 200, 2000)}  # noqa: RUF012

    def __init__(self, folder):
        from langchain_community.vectorstores import FAISS
        from langchain_core.embeddings import Embeddings

        class Given(Embeddings):
            def embed_documents(self, texts):
                raise NotImplementedError

            embed_query = embed_documents

        self.kind, self.folder, self.embeddings = FAISS, str(folder), Given()

    def build(self, data):
        pairs = zip(data.texts, data.vectors.tolist(), strict=True)
        strategy = "MAX_INNER_PRODUCT"
        self.store = self.kind.from_embeddings(
            pairs, self.embeddings, data.metadata(), ids=data.ids(), distance_strategy=strategy
        )
        self.store.save_local(self.folder)

    def open(self):
        self.store = self.kind.load_local(
            self.folder, self.embeddings, allow_dangerous_deserialization=True, distance_strategy="MAX_INNER_PRODUCT"
        )

    def search(self, vector, where, setting):
        found = self.store.similarity_search_by_vector(
            vector.tolist(), k=K, filter=dict([where]) if where else None, fetch_k=setting
        )
        return [int(one.metadata["row"]) for one in found]

    def delete(self, rows):
        self.store.delete([f"d{row}" for row in rows])
        self.store.save_local(self.folder)

    def more(self, data):
        pairs = list(zip(data.texts, data.vectors.tolist(), strict=True))
        self.store.add_embeddings(pairs, data.metadata(), ids=data.ids())
        self.store.save_local(self.folder)


class Chroma:
    """PersistentClient: SQLite and hnswlib."""

    ladder = dict.fromkeys(FILTERS, (100, 200, 400, 800))

    def __init__(self, folder):
        import chromadb

        self.client = chromadb.PersistentClient(str(folder), chromadb.Settings(anonymized_telemetry=False))
        self.ef = 100

    def build(self, data):
        self.store = self.client.create_collection(
            "stores", configuration={"hnsw": {"space": "ip"}}, embedding_function=None
        )
        self.more(data)

    def open(self):
        self.store = self.client.get_collection("stores", embedding_function=None)

    def search(self, vector, where, setting):
        if setting != self.ef:
            self.store.modify(configuration={"hnsw": {"ef_search": setting}})
            self.store, self.ef = self.client.get_collection("stores", embedding_function=None), setting
        found = self.store.query(query_embeddings=vector[None], n_results=K, where=dict([where]) if where else None)
        return [int(name[1:]) for name in found["ids"][0]]

    def delete(self, rows):
        for at in range(0, len(rows), 5000):
            self.store.delete(ids=[f"d{row}" for row in rows[at : at + 5000]])

    def more(self, data):
        ids, metadata = data.ids(), data.metadata()
        for at in range(0, len(ids), 5000):
            some = slice(at, at + 5000)
            self.store.add(
                ids=ids[some], embeddings=data.vectors[some], metadatas=metadata[some], documents=data.texts[some]
            )


class LanceDB:
    """A table with an IVF_HNSW_SQ index and rescoring; a setting of 0 is its exact scan."""

    ladder = dict.fromkeys(FILTERS, (20, 50, 0))

    def __init__(self, folder):
        import lancedb

        self.db = lancedb.connect(str(folder))

    def build(self, data):
        self.store = self.db.create_table("stores", self._table(data))
        self.store.create_index(metric="dot", vector_column_name="vector", index_type="IVF_HNSW_SQ")
        for column in ("shelf", "half", "row"):
            self.store.create_scalar_index(column)

    def open(self):
        self.store = self.db.open_table("stores")

    def search(self, vector, where, setting):
        asked = self.store.search(vector).distance_type("dot").limit(K).select(["row", "text"])
        asked = asked.nprobes(setting).refine_factor(5) if setting else asked.bypass_vector_index()
        if where:
            asked = asked.where(f"{where[0]} = {where[1]}", prefilter=True)
        return [one["row"] for one in asked.to_list()]

    def delete(self, rows):
        self.store.delete(f"row IN ({', '.join(map(str, rows))})")

    def more(self, data):
        self.store.add(self._table(data))

    def _table(self, data):
        import pyarrow as pa

        columns = {name: [one[name] for one in data.metadata()] for name in ("row", "shelf", "half")}
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(data.vectors.ravel()), data.vectors.shape[1])
        return pa.table({**columns, "text": data.texts, "vector": vectors})


class Qdrant:
    """QdrantClient(path=...): the local mode, a scan in NumPy."""

    ladder = dict.fromkeys(FILTERS, (0,))

    def __init__(self, folder):
        import warnings

        from qdrant_client import QdrantClient, models

        warnings.simplefilter("ignore")
        self.models, self.client = models, QdrantClient(path=str(folder))

    def build(self, data):
        size = data.vectors.shape[1]
        self.client.create_collection(
            "stores", vectors_config=self.models.VectorParams(size=size, distance=self.models.Distance.DOT)
        )
        self.more(data)

    def open(self):
        self.client.get_collection("stores")

    def search(self, vector, where, setting):
        only = None
        if where:
            match = self.models.FieldCondition(key=where[0], match=self.models.MatchValue(value=where[1]))
            only = self.models.Filter(must=[match])
        return [one.id for one in self.client.query_points("stores", query=vector, limit=K, query_filter=only).points]

    def delete(self, rows):
        self.client.delete("stores", points_selector=[int(row) for row in rows])

    def more(self, data):
        payload = [{**one, "text": text} for one, text in zip(data.metadata(), data.texts, strict=True)]
        self.client.upload_collection("stores", vectors=data.vectors, payload=payload, ids=data.rows.tolist())


class USearch:
    """HNSW in half precision, opened by memory map; it keeps no text and knows no filters."""

    ladder = {"none": (64, 128, 256, 512)}  # noqa: RUF012

    def __init__(self, folder):
        from usearch.index import Index

        self.kind, self.file = Index, Path(folder) / "index.usearch"

    def build(self, data):
        self.file.parent.mkdir(exist_ok=True)
        self.store = self.kind(ndim=data.vectors.shape[1], metric="ip", dtype="f16")
        self.more(data)

    def open(self, view=True):
        self.store = self.kind.restore(str(self.file), view=view)

    def search(self, vector, where, setting):
        self.store.expansion_search = setting
        return self.store.search(vector, K).keys.tolist()

    def delete(self, rows):
        self.open(view=False)
        self.store.remove(np.asarray(rows, dtype=np.uint64))
        self.store.save(str(self.file))

    def more(self, data):
        if self.file.exists():
            self.open(view=False)
        self.store.add(data.rows.astype(np.uint64), data.vectors)
        self.store.save(str(self.file))


class Llmkit:
    """A knowledge base: text, words and vectors; what it builds includes its BM25 index."""

    ladder = dict.fromkeys(FILTERS, (0,))

    def __init__(self, folder):
        from llmkit.knowledge.knowledge_base import KnowledgeBase

        self.kind, self.folder = KnowledgeBase, folder

    def build(self, data):
        from llmkit.encoders.hashing import HashingEncoder
        from llmkit.knowledge.local.ann.autotune import Questions
        from llmkit.knowledge.local.ann.index_policy import build
        from llmkit.knowledge.vector_settings import VectorSettings

        by_hand = VectorSettings(recall=ENOUGH, small=10**9)  # the vectors are not this encoder's: it cannot ask
        self.kb = self.kind.create(self.folder, encoder=HashingEncoder(dim=data.vectors.shape[1]), vectors=by_hand)
        self.more(data)
        asked = Questions(data.others, "questions of NQ train", np.empty(0, dtype=np.int64))
        build(self.kb, questions=asked, settings=VectorSettings(recall=ENOUGH))

    def open(self):
        self.kb = self.kind.open(self.folder)

    def search(self, vector, where, setting):
        from llmkit.knowledge.filters.where import parse

        only = parse(f"{where[0]} == {where[1]}") if where else None
        rows, _ = self.kb.search_dense(vector[None], K, only)[0]
        return [chunk.metadata["row"] for chunk in self.kb.chunks(rows)]

    def delete(self, rows):
        self.kb.delete([f"d{row}" for row in rows])

    def more(self, data):
        from llmkit.knowledge.ingestion.ingest import add
        from llmkit.types import Document

        documents = (
            Document(name, text, metadata=one)
            for name, text, one in zip(data.ids(), data.texts, data.metadata(), strict=True)
        )
        add(self.kb, documents, source="stores", vectors=dict(zip(data.texts, data.vectors, strict=True)))


STORES = {
    "llmkit": Llmkit,
    "langchain": LangChainFaiss,
    "chroma": Chroma,
    "lancedb": LanceDB,
    "qdrant": Qdrant,
    "usearch": USearch,
}


class Data:
    """Rows of what is to be stored."""

    def __init__(self, folder, first=0, last=None):
        self.vectors = np.load(folder / "vectors.npy")[first:last]
        self.texts = json.loads((folder / "texts.json").read_text())[first:last]
        self.shelves = np.load(folder / "shelves.npy")[first:last]
        self.rows = np.arange(first, first + len(self.texts))
        self.others = np.load(folder / "others.npy")

    def ids(self):
        return [f"d{row}" for row in self.rows]

    def metadata(self):
        pairs = zip(self.rows.tolist(), self.shelves.tolist(), strict=True)
        return [{"row": row, "shelf": shelf, "half": shelf % 2} for row, shelf in pairs]


def memory():
    """RSS in MB, and the part of it that no file backs."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {name: int(lines[name].split()[0]) / 1024 for name in ("VmRSS", "RssAnon")}


def query(store, data, folder):
    """Times and recall at the first setting that finds enough, by filter; open and memory around them."""
    queries, truth = np.load(data / "queries.npy"), np.load(data / "truth.npz")
    imported = memory()
    began = time.perf_counter()
    store.open()
    store.search(queries[0], None, store.ladder["none"][0])
    result = {"open_s": time.perf_counter() - began, "filters": {}}
    for name, settings in store.ladder.items():
        where = FILTERS[name]
        for setting in settings:
            store.search(queries[1], where, setting)
            times, right, asked = [], 0, 0
            for number, vector in enumerate(queries):
                begun = time.perf_counter()
                found = store.search(vector, where, setting)
                times.append(time.perf_counter() - begun)
                right += len(set(found) & set(truth[name][number].tolist()))
                asked += 1
                if sum(times) > SECONDS and asked >= 10:
                    break
            took = {"p50_ms": 1000 * np.median(times), "p95_ms": 1000 * np.percentile(times, 95)}
            took |= {"recall": right / (K * asked), "setting": setting, "queries": asked}
            result["filters"].setdefault(name, took)  # the first setting is the store's own choice
            best = took
            if took["recall"] >= ENOUGH:
                break
        result["filters"][name] = {**best, "default": result["filters"][name]}
    result["memory_mb"] = {"after import": imported, "after queries": memory()}
    return result


def look(store, data, gone):
    """Whether rows are found by their own vectors, and whether any of the shelf that was deleted comes back."""
    store.open()
    setting = store.ladder["none"][-1]
    wrong = back = 0
    sample = np.random.default_rng(3).choice(len(data.rows), 60, replace=False)
    for at in sample:
        found = store.search(data.vectors[at], None, setting)
        dead = bool(gone) and data.shelves[at] == gone
        wrong += not dead and int(data.rows[at]) not in found
        back += any(row < len(data.rows) and data.shelves[row] == gone for row in found) if gone else 0
    return {"asked": len(sample), "wrong": int(wrong), "came_back": int(back)}


def main():
    name, action, data, folder, *rest = sys.argv[1:]
    data, folder = Path(data), Path(folder)
    size = int(os.environ["STORES_SIZE"])
    store = STORES[name](folder)
    if action == "query":
        result = query(store, data, folder)
    elif action == "look":
        result = look(store, Data(data, 0, size), int(rest[0]) if rest else 0)
    else:
        rows = Data(data, size) if action == "more" else Data(data, 0, size)
        if action != "build":
            store.open()
        print("ready", flush=True)
        began = time.perf_counter()
        if action == "delete":
            store.delete(rows.rows[rows.shelves == FILTERS["1%"][1]].tolist())
        else:
            getattr(store, action)(rows)
        result = {"seconds": time.perf_counter() - began}
        if action == "build":
            result["disk_mb"] = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
    print(json.dumps(result), flush=True)
    os._exit(0)  # some of them take seconds to take themselves down


if __name__ == "__main__":
    main()
