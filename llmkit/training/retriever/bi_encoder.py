"""The encoder in training: a transformers model in torch with pooling, of which chosen layers learn.

::

    texts ─ prefix + tokenizer ─ ids ─ encoder ─ pooling ─ unit length ─► (n, hidden)

Reimers & Gurevych 2019 (pooling, one encoder for both sides), Karpukhin et al. 2020 (a tower for each side).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from llmkit import cpu
from llmkit.encoders.runtime.bert_graph import Pooling
from llmkit.encoders.tower import read_pooling
from llmkit.errors import ModelError
from llmkit.models.local.check_weights import require_all_weights
from llmkit.training.retriever.recipe import RetrieverRecipe

Side = Literal["query", "passage"]
TokenIds = Sequence[NDArray[np.int32]]
"""Token ids of each text."""


class SideTokenizer:
    """The tokenizer of both sides, with their prefixes; remembers which texts were cut."""

    def __init__(self, folder: Path, recipe: RetrieverRecipe) -> None:
        from tokenizers import Tokenizer

        if not (folder / "tokenizer.json").is_file():
            raise ModelError(
                f"{folder} has no tokenizer.json: save a fast tokenizer there (AutoTokenizer.save_pretrained)"
            )
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        self.prefix: dict[Side, str] = {"query": recipe.query_prefix, "passage": recipe.passage_prefix}
        self.max_tokens = recipe.max_tokens
        self.cut: dict[Side, set[str]] = {"query": set(), "passage": set()}
        """Texts that were cut, by side."""
        self._known: dict[tuple[Side, str], NDArray[np.int32]] = {}

    def __call__(self, side: Side, texts: Sequence[str]) -> TokenIds:
        """Token ids of each text, special tokens included."""
        new = list(dict.fromkeys(text for text in texts if (side, text) not in self._known))
        if new:
            self.tokenizer.enable_truncation(self.max_tokens)
            for text, encoding in zip(
                new, self.tokenizer.encode_batch([self.prefix[side] + text for text in new]), strict=True
            ):
                if encoding.overflowing:
                    self.cut[side].add(text)
                self._known[side, text] = np.array(encoding.ids, dtype=np.int32)
        return [self._known[side, text] for text in texts]


class BiEncoder:
    """The encoder of questions and the encoder of passages: one network for both, or one for each (`towers`)."""

    def __init__(self, folder: Path, recipe: RetrieverRecipe, device: str = "cpu") -> None:
        import torch

        self.recipe, self.device = recipe, device
        torch.manual_seed(recipe.seed)
        self.pooling = pooling_of(folder) if recipe.pooling == "auto" else recipe.pooling
        self.query = _model(folder, recipe).to(device)
        self.passage = _model(folder, recipe).to(device) if recipe.towers == "two" else self.query
        if recipe.towers == "two" and recipe.init == "random":
            self.passage.load_state_dict(self.query.state_dict())
        positions = getattr(self.query.config, "max_position_embeddings", None)
        if positions is not None and "roberta" in self.query.config.model_type:
            positions -= 2  # kept for padding
        if positions is not None and recipe.max_tokens > positions:
            raise ModelError(f"max_tokens {recipe.max_tokens} is more than the {positions} positions of {recipe.base}")
        self.hidden = int(self.query.config.hidden_size)
        if max((recipe.dim or 1, *recipe.matryoshka)) > self.hidden:
            raise ModelError(f"dim and matryoshka are at most {self.hidden}, the size of {recipe.base}")
        self.pad = int(self.query.config.pad_token_id or 0)

    def of(self, side: Side) -> Any:
        """The network of that side."""
        return self.query if side == "query" else self.passage

    def trainable(self) -> dict[str, Any]:
        """Parameters that learn, by name, each once."""
        found: dict[str, Any] = {}
        for name, tower in (("query", self.query), ("passage", self.passage)):
            if name == "passage" and self.passage is self.query:
                continue
            found |= {f"{name}.{key}": value for key, value in tower.named_parameters() if value.requires_grad}
        return found

    def train(self, on: bool) -> None:
        """Dropout on or off."""
        self.query.train(on)
        self.passage.train(on)

    def encode(self, side: Side, ids: TokenIds) -> Any:
        """Unit vectors (n, hidden), float32, of one micro-batch; gradients as the caller has them switched."""
        import torch

        width = max(len(row) for row in ids)
        tokens = torch.full((len(ids), width), self.pad, dtype=torch.long)
        mask = torch.zeros((len(ids), width), dtype=torch.long)
        for i, row in enumerate(ids):
            tokens[i, : len(row)] = torch.from_numpy(row)
            mask[i, : len(row)] = 1
        tokens, mask = tokens.to(self.device), mask.to(self.device)
        full = bool(mask.all())
        with torch.autocast(self.device.partition(":")[0], dtype=torch.bfloat16, enabled=self.bf16):
            state = self.of(side)(input_ids=tokens, attention_mask=None if full else mask).last_hidden_state
        return torch.nn.functional.normalize(_pool(state.float(), mask, self.pooling), dim=-1)

    @property
    def bf16(self) -> bool:
        """Whether matrices are multiplied in bf16."""
        if self.recipe.precision != "auto":
            return self.recipe.precision == "bf16"
        return self.device != "cpu" or cpu.has_bfloat16()

    def vectors(self, side: Side, ids: TokenIds) -> NDArray[np.float32]:
        """Vectors of many texts, without gradients."""
        import torch

        out = np.empty((len(ids), self.hidden), dtype=np.float32)
        with torch.no_grad():
            for rows in micro_batches(ids, self.recipe.micro_tokens):
                out[rows] = self.encode(side, [ids[row] for row in rows]).cpu().numpy()
        return out


def micro_batches(ids: TokenIds, budget: int) -> Iterator[list[int]]:
    """Rows of neighbours in length, longest first, each batch within a budget of tokens, padding included."""
    order = sorted(range(len(ids)), key=lambda row: -len(ids[row]))
    at = 0
    while at < len(order):
        size = max(1, budget // len(ids[order[at]]))
        yield order[at : at + size]
        at += size


def pooling_of(folder: Path) -> Pooling:
    """As a sentence-transformers folder says it; mean where nothing does."""
    file = folder / "1_Pooling" / "config.json"
    return read_pooling(file) if file.is_file() else "mean"


def _pool(state: Any, mask: Any, pooling: str) -> Any:
    if pooling == "cls":
        return state[:, 0]
    wide = mask.unsqueeze(-1)
    if pooling == "max":
        return state.masked_fill(wide == 0, float("-inf")).amax(1)
    return (state * wide).sum(1) / wide.sum(1)


def _model(folder: Path, recipe: RetrieverRecipe) -> Any:
    import torch
    from transformers import AutoConfig, AutoModel, logging

    # its report of unused tensors says nothing that `complete` does not check
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        if config.model_type == "dpr":
            raise ModelError(f"{folder}: DPR's own checkpoints are served, not trained further; start from their BERT")
        for name in ("hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout"):
            if hasattr(config, name):
                setattr(config, name, recipe.dropout)
        pooler = {"add_pooling_layer": False} if config.model_type in ("bert", "roberta", "xlm-roberta") else {}
        if recipe.init == "random":
            model = AutoModel.from_config(
                config,  # type: ignore[no-untyped-call]
                dtype=torch.float32,
                **pooler,
            )
        else:
            model, found = AutoModel.from_pretrained(
                folder, config=config, dtype=torch.float32, use_safetensors=True, output_loading_info=True, **pooler
            )
            require_all_weights(folder, found)
    except (OSError, ValueError) as error:
        raise ModelError(f"transformers cannot load {folder}: {str(error).splitlines()[0]}") from error
    if not torch.cuda.is_available() and recipe.max_tokens <= 256:
        # On a CPU the fused kernel is slow backwards, with heads this small; what it saves is memory, for longer texts.
        model.set_attn_implementation("eager")
    if recipe.lora:
        return _add_adapters(model, recipe)
    _choose(model, recipe)
    return model


def _choose(model: Any, recipe: RetrieverRecipe) -> None:
    """Switch gradients off for what does not learn."""
    if recipe.embeddings == "frozen":
        model.get_input_embeddings().weight.requires_grad_(False)
        for name, value in model.named_parameters():
            if "embeddings." in name:
                value.requires_grad_(False)
    if recipe.train != "all":
        stack = next((m for m in model.modules() if type(m).__name__ == "ModuleList"), None)
        keep = int(recipe.train.removeprefix("last-"))
        if stack is None or keep > len(stack):
            raise ModelError(
                f"train: {recipe.train}, but {recipe.base} has {0 if stack is None else len(stack)} layers"
            )
        learning = {id(value) for layer in stack[-keep:] for value in layer.parameters()}
        for value in model.parameters():
            value.requires_grad_(id(value) in learning)


def _add_adapters(model: Any, recipe: RetrieverRecipe) -> Any:
    from llmkit.extras import need

    peft = need("peft", feature="lora", extra="train")
    assert recipe.lora is not None
    settings = peft.LoraConfig(
        r=recipe.lora.rank,
        lora_alpha=recipe.lora.alpha,
        lora_dropout=recipe.lora.dropout,
        target_modules="all-linear",
        bias="none",
    )
    return peft.get_peft_model(model, settings)
