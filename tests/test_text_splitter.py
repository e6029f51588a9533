"""The splitter's promises over any text and any structure; sentences; the ledger."""

from __future__ import annotations

import time
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from llmkit.encoders.hashing import HashingEncoder
from llmkit.text.ledger import ledger, totals
from llmkit.text.sentences import sentences
from llmkit.text.splitter import StructureSplitter
from llmkit.types import Block, Chunk, Document


class WordPieces:
    """A real subword tokenizer, small enough to cut most words into letters."""

    max_tokens, special_tokens = 24, 2

    def __init__(self):
        pieces = ["[UNK]", *"abcdehilnorstuv", *(f"##{c}" for c in "abcdehilnorstuv"), "the", "##ing", "table"]
        self.tokenizer = Tokenizer(models.WordPiece({p: i for i, p in enumerate(pieces)}, unk_token="[UNK]"))
        self.tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()

    def token_starts(self, text):
        return np.array([start for start, _ in self.tokenizer.encode(text).offsets], dtype=np.int64)


TOKENIZERS = [HashingEncoder(max_tokens=24), WordPieces()]

texts = st.one_of(
    st.text(max_size=300),
    st.text("ab the.\n ,é漢。\t1", max_size=400),
    st.lists(
        st.sampled_from(["table ", "the end. ", "\n\n", "x" * 90, "保証は。", "- item\n", "😀", "\r\n"]), max_size=40
    ).map("".join),
)


@st.composite
def documents(draw):
    text = draw(texts)
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=8)))
    blocks = [
        Block(
            start, end, draw(st.sampled_from(["heading", "paragraph", "list", "table", "code", "row"])),
            heading=tuple(draw(st.lists(st.sampled_from(["Part", "the table", "word " * 30]), max_size=3))),
            page=draw(st.sampled_from([None, 1, 2])), part=draw(st.sampled_from([None, "a"])),
        )
        for start, end in zip(cuts[::2], cuts[1::2], strict=False)
        if start < end
    ]  # fmt: skip
    return Document("d", text, title=draw(st.sampled_from(["", "Title", "long title " * 20])), blocks=tuple(blocks))


@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=["words", "pieces"])
@given(document=documents())
def test_offsets_are_exact_the_budget_holds_and_nothing_is_lost(tokenizer, document):
    chunks = StructureSplitter().split(document, tokenizer)
    for ordinal, chunk in enumerate(chunks):
        assert chunk.ordinal == ordinal
        assert document.text[chunk.start : chunk.end] == chunk.text == chunk.text.strip() != ""
        counted = len(tokenizer.token_starts(chunk.indexed_text)) + tokenizer.special_tokens
        assert counted == chunk.tokens <= tokenizer.max_tokens
        assert chunk.version == document.version
    spans = ledger(document, chunks)
    assert "".join(document.text[span.start : span.end] for span in spans) == document.text
    assert set(totals(spans)) <= {"indexed", "dropped: white space"}
    assert StructureSplitter().split(document, tokenizer) == chunks


def test_a_heading_begins_a_chunk_and_is_not_left_behind():
    text = "# One\n\n" + "alpha beta gamma. " * 6 + "\n\n# Two\n\n" + "delta epsilon. " * 6
    two = text.index("# Two")
    blocks = (
        Block(0, 5, "heading", 1, ("One",)), Block(7, two - 2, heading=("One",)),
        Block(two, two + 5, "heading", 1, ("Two",)), Block(two + 7, len(text), heading=("Two",)),
    )  # fmt: skip
    chunks = StructureSplitter(max_tokens=48, min_tokens=0).split(Document("d", text, blocks=blocks), HashingEncoder())
    assert chunks[0].text.startswith("# One")
    assert any(chunk.text.startswith("# Two\n\ndelta") for chunk in chunks)
    assert {chunk.heading for chunk in chunks} == {("One",), ("Two",)}


def test_a_table_that_fits_stays_whole_and_one_that_does_not_is_cut_between_rows():
    rows = "\n".join(f"| row {i} | value {i} |" for i in range(12))
    small = StructureSplitter(max_tokens=128).split(
        Document("d", rows, blocks=(Block(0, len(rows), "table"),)), HashingEncoder()
    )
    assert [chunk.text for chunk in small] == [rows]
    cut = StructureSplitter(max_tokens=32).split(
        Document("d", rows, blocks=(Block(0, len(rows), "table"),)), HashingEncoder()
    )
    assert len(cut) > 1
    assert all(line.startswith("|") and line.endswith("|") for chunk in cut for line in chunk.text.split("\n"))


def test_a_large_document_is_split_in_reasonable_memory_and_time():
    text = "word " * 400_000
    begun = time.monotonic()
    chunks = StructureSplitter().split(Document("d", text), HashingEncoder())
    assert sum(len(chunk.text.split()) for chunk in chunks) == 400_000
    assert time.monotonic() - begun < 60


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_a_word_of_megabytes_is_cut_even_where_it_is_one_unknown_token(tokenizer):
    text = f"the {'a' * 500_000} end"
    chunks = StructureSplitter().split(Document("d", text), tokenizer)
    assert "".join(chunk.text for chunk in chunks).replace(" ", "") == text.replace(" ", "")
    assert max(len(chunk.text) for chunk in chunks) <= 64 * tokenizer.max_tokens


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Dr. Smith paid 3.50 to J. R. Jones. He left.", ["Dr. Smith paid 3.50 to J. R. Jones.", "He left."]),
        ("See Fig. 2, e.g. the U.S. map. Next!", ["See Fig. 2, e.g. the U.S. map.", "Next!"]),
        ('He said "Stop." Then he left.', ['He said "Stop."', "Then he left."]),
        ("今日は晴れ。明日は雨！「本当？」はい。", ["今日は晴れ。", "明日は雨！", "「本当？」", "はい。"]),
        ("A title\n\nA line\nthat goes on.\n- one\n- two", ["A title", "A line\nthat goes on.", "- one", "- two"]),
        ("| a | b |\n|---|---|\n| 1. x | y |", ["| a | b |", "|---|---|", "| 1. x | y |"]),
        ("   ", []),
        ("no stop", ["no stop"]),
    ],
)
def test_sentences(text, expected):
    assert [text[start:end] for start, end in sentences(text)] == expected


@given(texts)
def test_sentences_cover_everything_once(text):
    spans = sentences(text)
    assert all(a[1] <= b[0] for a, b in pairwise(spans))
    assert "".join("".join(text[a:b].split()) for a, b in spans) == "".join(text.split())


@pytest.mark.parametrize(
    "text", ['."' * 200_000, "x. " * 100_000, "\n " * 300_000, "。" * 300_000, "." * 300_000, "(" * 300_000]
)
def test_hostile_text_takes_linear_time(text):
    begun = time.monotonic()
    sentences(text)
    assert time.monotonic() - begun < 20


def test_what_no_chunk_covers_is_called_by_its_name():
    document = Document("d", "one two")
    spans = ledger(document, [Chunk("d", 0, 0, 3, "one", 1)])
    assert totals(spans) == {"indexed": 3, "dropped: not covered by any chunk": 4}


def test_front_matter_is_in_no_chunk_and_cuts_what_stands_around_it():
    text = "one\n\n---\na: b\n---\n\ntwo"
    document = Document("d", text, blocks=(Block(0, 3), Block(5, 17, "front matter"), Block(19, 22)))
    chunks = StructureSplitter().split(document, HashingEncoder())
    assert [chunk.text for chunk in chunks] == ["one", "two"]
    spans = ledger(document, chunks)
    assert "".join(text[span.start : span.end] for span in spans) == text
    assert totals(spans) == {"indexed": 6, "dropped: white space": 4, "dropped: front matter": 12}


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("Der Vertrag endet am 31. Dezember 2027. Er verlängert sich nicht.", 2),
        ("Frist: 3. Mai. Danach ist es zu spät.", 2),
        ("Die Versammlung findet am 2. Montag im Mai statt. Sie ist öffentlich.", 2),
        ("Sie ist gemäß Abs. 3 einzureichen. Danach nicht.", 2),
        ("Dr. Huber sitzt im Gebäude Nr. 7. Er hilft.", 2),
        ("Schutz wie z. B. Helme ist Pflicht. Auch u. U. Brillen.", 2),
        ("We sold 12. They sold 13.", 2),
        ("I am 12. He is 13.", 2),
        ("It was in the year 31. The king died.", 2),
    ],
)
def test_german_ordinals_and_abbreviations_end_no_sentence(text: str, count: int) -> None:
    assert len(sentences(text)) == count
