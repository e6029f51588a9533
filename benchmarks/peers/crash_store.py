"""A store that is written in a loop until it is killed, and one that looks at what is left. For benchmarks/crashes.py.

    python crash_store.py STORE

Reads lines: `write FOLDER` starts a child that adds batches for ever, and prints its pid, then the batches it was told
are saved; `look FOLDER` prints what a fresh child finds. STORE is langchain or llmkit.
"""

import json
import os
import sys

import numpy as np

DIM, FIRST, BATCH = 384, 5000, 50


def vector(name):
    found = np.random.default_rng(int(name)).standard_normal(DIM).astype(np.float32)
    return found / np.linalg.norm(found)


def batch(number):
    """Names of a batch; 0 is what the store begins with."""
    return range(FIRST) if number == 0 else range(FIRST + (number - 1) * BATCH, FIRST + number * BATCH)


class LangChain:
    def __init__(self):
        from langchain_community.vectorstores import FAISS
        from langchain_core.embeddings import Embeddings

        class Given(Embeddings):
            def embed_documents(self, texts):
                return [vector(text.split()[1]).tolist() for text in texts]

            def embed_query(self, text):
                return self.embed_documents([text])[0]

        self.kind, self.given = FAISS, Given()

    def create(self, folder):
        texts = [f"text {n}" for n in batch(0)]
        self.kind.from_texts(texts, self.given, ids=[str(n) for n in batch(0)]).save_local(folder)

    def open(self, folder):
        self.folder = folder
        self.store = self.kind.load_local(folder, self.given, allow_dangerous_deserialization=True)

    def add(self, number):
        self.store.add_texts([f"text {n}" for n in batch(number)], ids=[str(n) for n in batch(number)])
        self.store.save_local(self.folder)

    def count(self):
        return self.store.index.ntotal

    def ask(self, name):
        (found,) = self.store.similarity_search_by_vector(vector(name).tolist(), k=1)
        return found.page_content


class Llmkit:
    def __init__(self):
        from llmkit.encoders.hashing import HashingEncoder
        from llmkit.knowledge.ingestion.ingest import add
        from llmkit.knowledge.knowledge_base import KnowledgeBase
        from llmkit.types import Document

        self.kind, self.put, self.document, self.encoder = KnowledgeBase, add, Document, HashingEncoder(dim=DIM)

    def create(self, folder):
        with self.kind.create(folder, encoder=self.encoder) as self.kb:
            self.add(0)

    def open(self, folder):
        self.kb = self.kind.open(folder)

    def add(self, number):
        documents = [self.document(str(n), f"text {n}") for n in batch(number)]
        self.put(self.kb, documents, source="crash", vectors={f"text {n}": vector(n) for n in batch(number)})

    def count(self):
        return self.kb.count

    def ask(self, name):
        ((rows, _),) = self.kb.search_dense(vector(name)[None], 1)
        return self.kb.chunks(rows)[0].text


def write(store, folder):
    store.open(folder)
    number = (store.count() - FIRST) // BATCH
    while True:
        number += 1
        store.add(number)
        print(f"told {number}", flush=True)


def look(store, folder):
    """What opens: how many batches, and how many of a sample of rows are found by their own vectors."""
    try:
        store.open(folder)
        count = store.count()
        chance = np.random.default_rng(1)
        names = [*chance.choice(count, 40, replace=False).tolist(), *range(count - 10, count)]
        wrong = sum(store.ask(name) != f"text {name}" for name in names)
        return {"batches": (count - FIRST) / BATCH, "wrong": wrong}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {str(error)[:120]}"}


def main():
    store = {"langchain": LangChain, "llmkit": Llmkit}[sys.argv[1]]()
    for line in sys.stdin:
        action, folder = line.split()
        child = os.fork()
        if child == 0:
            if action == "write":
                print(os.getpid(), flush=True)
                write(store, folder)
            print(json.dumps(store.create(folder) if action == "create" else look(store, folder)), flush=True)
            os._exit(0)
        os.waitpid(child, 0)
        if action == "write":
            print("dead", flush=True)


if __name__ == "__main__":
    main()
