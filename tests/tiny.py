"""Encoders of two layers and 32 dimensions with random weights, made in the test."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

WORDS = """pump valve cold water filter seal motor bearing shaft oil pressure gauge tank pipe heat steam boiler fan belt gear
red blue green yellow black white grey brown pink violet north south east west spring summer autumn winter may june
what which where when who is the a of in on for and to does how many""".split()
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]


def tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    vocabulary = {word: i for i, word in enumerate([*SPECIAL, *WORDS])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    folder.mkdir(parents=True, exist_ok=True)
    made.save(str(folder / "tokenizer.json"))


def sizes() -> dict:
    return {
        "vocab_size": len(SPECIAL) + len(WORDS),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 40,
        "pad_token_id": 0,
        "initializer_range": 0.2,
    }


def bert(folder: Path, seed: int = 0, **config) -> Path:
    torch = pytest.importorskip("torch", reason="needs the extra train")
    import transformers

    torch.manual_seed(seed)
    model = transformers.BertModel(transformers.BertConfig(**(sizes() | config)), add_pooling_layer=False)
    model.save_pretrained(folder)
    tokenizer(folder)
    return folder


def dpr(folder: Path, side: str, seed: int) -> Path:
    """A tower as Facebook's checkpoints have it."""
    torch = pytest.importorskip("torch", reason="needs the extra train")
    import transformers

    torch.manual_seed(seed)
    kind = transformers.DPRQuestionEncoder if side == "query" else transformers.DPRContextEncoder
    kind(transformers.DPRConfig(**sizes(), projection_dim=0)).save_pretrained(folder)
    tokenizer(folder)
    return folder


def rows(count: int, offset: int = 0) -> list[dict]:
    """Questions that a retriever can learn: each passage has a word of its own, the question its 'synonym'."""
    made = []
    for i in range(offset, offset + count):
        first, second = WORDS[i % 20], WORDS[20 + i % 16]
        question = f"what is the {first} {second} for {WORDS[36 + i % 6]}"
        made.append({"question": question, "passage": f"{second} {first} in {WORDS[(i * 7) % 20]} on the {second}"})
    return made


def write_pairs(path: Path, made: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in made), encoding="utf-8")
    return path
