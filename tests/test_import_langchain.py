"""A FAISS folder of LangChain's comes in whole or not at all, and nothing in it is run."""

from __future__ import annotations

import json
import os
import pickle
import struct

import faiss
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.documents import Document
from langchain_folder import save_local

from llmkit.cli import cli
from llmkit.encoders.hashing import HashingEncoder
from llmkit.errors import KnowledgeError
from llmkit.knowledge.knowledge_base import KnowledgeBase
from llmkit.knowledge.langchain_import.faiss_file import read_flat
from llmkit.knowledge.langchain_import.importer import import_faiss
from llmkit.knowledge.langchain_import.safe_pickle import read_pickle
from llmkit.retrieval.dense_and_bm25 import BM25, Dense

TEXTS = [f"The {fruit} of garden {n} ripens in week {n * 3}." for n, fruit in enumerate(["apple", "pear", "plum"] * 10)]
LONG = " ".join(f"Sentence {n} of a long story." for n in range(200))
METADATA = {"n": 1, "tags": ["a", "b"], "page": None, "share": 0.5, "deep": {"yes": True}, "pair": (1, 2)}


class Counting(HashingEncoder):
    """Remembers what it was asked for."""

    def encode_passages(self, texts):
        ASKED.extend(texts)
        return super().encode_passages(texts)


ASKED: list[str] = []


@pytest.fixture
def kb(tmp_path):
    ASKED.clear()
    with KnowledgeBase.create(tmp_path / "kb", encoder=Counting()) as kb:
        yield kb


def folder(tmp_path, texts=TEXTS, scale=1.0, metadata=METADATA, **named):
    vectors = HashingEncoder().encode_passages([text[:200] for text in texts]) * np.float32(scale)
    documents = [Document(text, metadata=metadata) for text in texts]
    save_local(tmp_path / "lc", vectors, documents, **named)
    return tmp_path / "lc"


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("metric", ["l2", "ip"])
def test_everything_comes_over_and_no_vector_is_encoded(kb, tmp_path, metric, protocol):
    done = import_faiss(folder(tmp_path, metric=metric, protocol=protocol), kb)
    assert (done.documents, done.kept, done.encoded, done.notes) == (30, 30, 0, [])
    assert done.agreement == pytest.approx(1.0)
    assert len(ASKED) == 20  # the sample
    assert kb.document("id-7").text == TEXTS[7]
    assert kb.document("id-7").metadata == {**METADATA, "pair": [1, 2]}
    for retriever in (Dense(), BM25()):
        for n, text in enumerate(TEXTS):
            assert retriever.retrieve(kb, [text], 1)[0][0].chunk.document == f"id-{n}"
    assert kb.verify() == []
    again = import_faiss(tmp_path / "lc", kb)
    assert (again.documents, again.unchanged, kb.generation) == (0, 30, 1)


def test_long_texts_are_split_and_encoded_and_long_vectors_shortened_aloud(kb, tmp_path):
    done = import_faiss(folder(tmp_path, [*TEXTS, LONG], scale=3.0), kb)
    assert (done.documents, done.kept) == (31, 30)
    assert done.encoded > 1
    assert any("31 vectors were not of unit length (from 3.00 to 3.00)" in note for note in done.notes)
    assert any("1 documents are longer than a passage" in note for note in done.notes)
    assert kb.verify() == []


def test_another_encoders_vectors_are_refused_unless_everything_is_encoded(kb, tmp_path):
    where = folder(tmp_path)
    vectors = np.roll(HashingEncoder().encode_passages(TEXTS), 1, axis=0)
    save_local(where, vectors, [Document(text) for text in TEXTS])
    with pytest.raises(KnowledgeError, match=r"was not made with the encoder hashing-256.* cosine of .*--encode"):
        import_faiss(where, kb)
    assert kb.generation == 0
    done = import_faiss(where, kb, encode=True)
    assert (done.kept, done.encoded) == (0, 30)
    assert Dense().retrieve(kb, [TEXTS[4]], 1)[0][0].chunk.document == "id-4"


def test_what_is_out_of_step_is_told(kb, tmp_path):
    where = folder(tmp_path)
    save_local(tmp_path / "more", HashingEncoder().encode_passages(TEXTS[:29]), [Document(text) for text in TEXTS[:29]])
    os.replace(tmp_path / "more/index.faiss", where / "index.faiss")
    with pytest.raises(KnowledgeError, match=r"29 vectors, index.pkl names 30"):
        import_faiss(where, kb)
    places = {n: f"id-{n}" for n in range(30)}
    for wrong, says in [
        ({**places, 3: "nobody"}, "names 1 documents that it does not hold, such as 'nobody'"),
        ({**places, 3: "id-4"}, "names 1 documents twice"),
        ({n + 1: name for n, name in places.items()}, "names rows that are not 0 to 29"),
        (dict.fromkeys(places, 5), "by something that is no text"),
    ]:
        with pytest.raises(KnowledgeError, match=says):
            import_faiss(folder(tmp_path, places=wrong), kb)
    done = import_faiss(folder(tmp_path), kb)
    assert done.kept == 30
    with pytest.raises(KnowledgeError, match=r"there is no .*other.faiss"):
        import_faiss(where, kb, name="other")


def test_documents_without_a_vector_are_encoded_and_told(kb, tmp_path):
    where = folder(tmp_path)
    less = HashingEncoder().encode_passages(TEXTS[:29])
    save_local(tmp_path / "less", less, [Document(text) for text in TEXTS[:29]])
    folder(tmp_path, places={n: f"id-{n}" for n in range(29)})
    os.replace(tmp_path / "less/index.faiss", where / "index.faiss")
    done = import_faiss(where, kb)
    assert (done.documents, done.kept, done.encoded) == (30, 29, 1)
    assert done.notes == ["1 documents had no vector, so LangChain did not find them; they are encoded"]


@pytest.mark.parametrize("metadata", [{"f": float("nan")}, {"f": {1: 2}}, {"n": 1 << 70}, {"f": {"a", "b"}}])
def test_metadata_that_are_no_json_are_refused(kb, tmp_path, metadata):
    with pytest.raises(KnowledgeError, match="the metadata of document 'id-0'"):
        import_faiss(folder(tmp_path, metadata=metadata), kb)


class Evil:
    def __init__(self, tmp_path):
        self.path = tmp_path / "ran"

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value, 1]
    return value


def hostile(tmp_path):
    yield "os.system by protocol", [pickle.dumps(Evil(tmp_path), protocol=protocol) for protocol in range(6)]
    words = b"\x8c\x05posix\x94\x8c\x06system\x94h\x00h\x01\x93\x8c\x04true\x85R."
    yield "STACK_GLOBAL from the memo", [b"\x80\x04" + words]
    yield (
        "the old ways to run things",
        [b"cos\nsystem\n(S'true'\ntR.", b"(S'true'\nios\nsystem\n.", b"(cos\nsystem\nX\x04\0\0\0trueo."],
    )
    yield "extensions and persistent ids", [b"\x80\x02\x82\x01.", b"\x80\x02K\x01Q.", b"Pid\n."]
    docstore = b"\x8c\x25langchain_community.docstore.in_memory\x8c\x10InMemoryDocstore\x93"
    yield (
        "calls of known names",
        [
            b"\x80\x04" + docstore + b")R.",
            b"\x80\x04" + docstore + b"K\x01\x85\x81.",
            b"\x80\x04\x8c\x08builtins\x8c\x03set\x93)\x81.",
            b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93.",
            b"\x80\x04\x8c\x1alangchain_core.documents.base\x8c\x08__dict__\x93.",
        ],
    )
    yield "nested", [b"\x80\x04" + b"(" * 5000 + b"."]
    yield (
        "stack games",
        [
            b"\x80\x04.",
            b"\x80\x04(.",
            b"\x80\x04N0N.",
            b"\x80\x04NN.",
            b"\x80\x04u.",
            b"\x80\x04}Nu.",
            b"\x80\x04}(Nu.",
            b"\x80\x04](N]u.",
            b"\x80\x04Nb.",
            b"\x80\x04h\x07.",
        ],
    )
    yield (
        "lengths that are not there",
        [
            b"\x80\x04\x8d" + struct.pack("<Q", 1 << 62) + b"a.",
            b"\x80\x04X\xff\xff\xff\x7fa.",
            b"\x80\x04\x8b\xff\xff\xff\x7f.",
        ],
    )
    yield "text numbers", [b"I" + b"9" * 100_000 + b"\n."]


def test_hostile_pickles_are_refused_and_nothing_runs(tmp_path):
    path = tmp_path / "index.pkl"
    for name, pickles in hostile(tmp_path):
        for data in pickles:
            path.write_bytes(data)
            with pytest.raises(KnowledgeError, match=r"index.pkl, byte \d+: .*Nothing of it was run"):
                raise AssertionError(f"{name}: {read_pickle(path)!r}")
    assert not (tmp_path / "ran").exists()


def test_a_bomb_of_references_and_a_list_that_holds_itself_are_refused(kb, tmp_path):
    bomb = ["x"] * 10
    for _ in range(9):
        bomb = [bomb] * 10
    own: list = []
    own.append(own)
    for value in (bomb, own, nested(200)):
        with pytest.raises(KnowledgeError, match="nested too deeply or too large"):
            import_faiss(folder(tmp_path, metadata={"value": value}), kb)


def test_a_pickle_cut_anywhere_is_refused(tmp_path):
    where = folder(tmp_path, TEXTS[:2])
    data = (where / "index.pkl").read_bytes()
    for end in range(len(data)):
        (where / "index.pkl").write_bytes(data[:end])
        with pytest.raises(KnowledgeError):
            read_pickle(where / "index.pkl")


@given(st.binary(max_size=200), st.integers(0, 400), st.booleans())
def test_no_bytes_do_anything_but_give_a_value_or_an_error_of_ours(tmp_path_factory, noise, at, replaces):
    path = tmp_path_factory.mktemp("noise") / "index.pkl"
    good = pickle.dumps({"a": [1, 2.5, None, "x"], "b": (True, {"c": "d"})}, protocol=4)
    path.write_bytes(good[:at] + noise + good[at + (len(noise) if replaces else 0) :])
    try:
        read_pickle(path)
    except KnowledgeError:
        pass


def test_index_files_whose_lengths_lie_are_refused(tmp_path):
    path = folder(tmp_path) / "index.faiss"
    good = path.read_bytes()
    assert read_flat(path).vectors.shape == (30, 256)
    lies = [
        good[:20],
        good[:-1],
        good + b"\0",
        good[:8] + struct.pack("<q", 1 << 39) + good[16:],
        good[:8] + struct.pack("<q", -1) + good[16:],
        good[:4] + struct.pack("<i", 1 << 30) + good[8:],
        good[:37] + struct.pack("<Q", 1 << 60) + good[45:],
        good[:33] + struct.pack("<i", 23) + good[37:],
        b"EVIL" + good[4:],
        b"",
    ]
    for data in lies:
        path.write_bytes(data)
        with pytest.raises(KnowledgeError, match=r"index.faiss"):
            read_flat(path)


def test_an_index_that_rounds_its_vectors_is_not_taken_over(kb, tmp_path):
    where = folder(tmp_path)
    vectors = HashingEncoder().encode_passages(TEXTS)
    for words in ("IVF2,Flat", "HNSW8", "SQ8"):
        index = faiss.index_factory(256, words)
        index.train(vectors)
        index.add(vectors)
        faiss.write_index(index, str(where / "index.faiss"))
        with pytest.raises(KnowledgeError, match=r"of kind I\w+, which may hold its vectors rounded.*--encode"):
            import_faiss(where, kb)
    assert import_faiss(where, kb, encode=True).encoded == 30


def test_the_command(tmp_path):
    where = folder(tmp_path)
    runner = CliRunner()
    words = ["kb", "import-langchain", str(where), "--into", str(tmp_path / "new"), "--encoder", "hashing"]
    done = runner.invoke(cli, words)
    assert done.exit_code == 0, done.output
    assert "30 documents: 30 vectors kept (cosine with the encoder at least 1.0000), 0 encoded" in done.output
    refused = runner.invoke(
        cli,
        ["kb", "import-langchain", str(where), "--into", str(tmp_path / "no"), "--encoder", "{type: hashing, dim: 8}"],
    )
    assert isinstance(refused.exception, KnowledgeError)
    assert not (tmp_path / "no").exists()  # the next try may name another encoder
    again = json.loads(runner.invoke(cli, [*words, "--json"]).output)
    assert (again["documents"], again["unchanged"]) == (0, 30)
