"""A cross-encoder under training: an encoder over question and passage, a mean, one number (Nogueira & Cho 2019)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from llmkit import extras, weights
from llmkit.encoders.runtime.runtimes import batches
from llmkit.errors import DataError, ModelError
from llmkit.models.local.check_weights import require_all_weights
from llmkit.retrieval.rerankers.local_cross_encoder import CARD, Card
from llmkit.retrieval.rerankers.pair_tokens import PairTokenizer, with_token_types
from llmkit.training.atomic_write import replace_folder
from llmkit.training.reranker.recipe import RerankerRecipe

_TARGETS = ("query", "key", "value", "dense")


class CrossEncoder:
    """The network, its tokenizer and how it is saved."""

    def __init__(self, recipe: RerankerRecipe) -> None:
        torch = extras.need("torch", feature="training a reranker", extra="train")
        transformers = extras.need("transformers", feature="training a reranker", extra="train")
        from tokenizers import Tokenizer

        self.recipe, self.torch = recipe, torch
        self.base = weights.find(recipe.base)
        if not (self.base / "tokenizer.json").is_file():
            raise ModelError(
                f"{self.base} has no tokenizer.json: the torch-free runtime could not read what is trained"
            )
        torch.manual_seed(recipe.seed)
        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        bert, found = transformers.AutoModel.from_pretrained(
            self.base,
            add_pooling_layer=False,
            dtype=torch.float32,
            attn_implementation="eager" if recipe.max_tokens <= 256 else None,  # as for retrievers (bi_encoder.py)
            hidden_dropout_prob=recipe.dropout,
            attention_probs_dropout_prob=recipe.dropout,
            output_loading_info=True,
        )
        require_all_weights(self.base, found)
        layers = recipe.layers or len(bert.encoder.layer)
        if layers > len(bert.encoder.layer):
            raise ModelError(f"layers: {layers}, but {recipe.base} has {len(bert.encoder.layer)}")
        bert.encoder.layer = bert.encoder.layer[:layers]
        bert.config.num_hidden_layers = layers
        self.bert = bert
        self.head = torch.nn.Linear(bert.config.hidden_size, 1)
        torch.nn.init.zeros_(self.head.weight)  # begins as the retriever's own ranking
        torch.nn.init.zeros_(self.head.bias)
        self.prior = torch.nn.Parameter(torch.tensor(float(recipe.prior)), requires_grad=recipe.prior > 0)
        self._choose(layers)
        tokenizer = Tokenizer.from_file(str(self.base / "tokenizer.json"))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self.pairs = PairTokenizer(tokenizer)
        self.cut = 0
        """Pairs of which something was not read, so far."""
        self.tokens = 0
        """Tokens of the last call of `score`, padding left out."""

    def named(self) -> Iterator[tuple[str, Any]]:
        """Every parameter that learns, by name."""
        for name, one in [*self.bert.named_parameters(), *self.head.named_parameters(prefix="classifier")]:
            if one.requires_grad:
                yield name, one
        if self.prior.requires_grad:
            yield "prior", self.prior

    def score(self, queries: Sequence[str], passages: Sequence[str], precision: str) -> Any:
        """(n,) logits; sorted by length and run in batches of `micro_tokens`, put back in order."""
        torch = self.torch
        made = self.pairs.sequences(queries, passages, self.recipe.max_tokens, windows=False)
        self.cut += made.cut
        self.tokens = sum(map(len, made.ids))
        rows, scores = [], []
        for at, tokens, mask, kinds in with_token_types(
            batches(made.ids, budget=self.recipe.micro_tokens, max_texts=256), made.types
        ):
            ids, shown, types = (torch.from_numpy(one) for one in (tokens, mask, kinds))
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
                states = self.bert(ids, attention_mask=shown, token_type_ids=types % self._types).last_hidden_state
            weight = shown.unsqueeze(-1).float()
            mean = (states.float() * weight).sum(1) / weight.sum(1)
            scores.append(self.head(mean)[:, 0])
            rows.append(torch.from_numpy(at))
        order = torch.cat(rows)
        return torch.cat(scores)[torch.argsort(order)]

    def train(self, on: bool) -> None:
        """Dropout on or off."""
        self.bert.train(on)

    def save(self, folder: Path) -> None:
        """Write the folder that `LocalCrossEncoder` reads, whole or not at all."""
        with replace_folder(folder) as new:
            self._write(new)

    def _write(self, folder: Path) -> None:
        from safetensors.numpy import save_file

        recipe = self.recipe
        kind = np.float16 if recipe.weights_dtype == "f16" else np.float32
        head = {f"classifier.{name}": _array(one, np.float32) for name, one in self.head.named_parameters()}
        card = Card(pooling="mean", max_tokens=recipe.max_tokens, prior=max(0.0, float(self.prior.detach())))
        if recipe.lora is not None and recipe.weights == "changed":
            named = {f"{self._prefix}{name}.weight.{side}": _array(one, kind) for name, side, one in self._lora()}
            header = {
                "base": recipe.base,
                "base_sha256": weights.sha256(self.base / "model.safetensors"),
                "scale": repr(recipe.lora.alpha / recipe.lora.rank),
            }
            save_file(named, folder / "delta.safetensors", header)
            save_file(head, folder / "head.safetensors")
            card = card.model_copy(
                update={"base": recipe.base, "layers": int(self.bert.config.num_hidden_layers)},
            )
        else:
            save_file({**{k: _array(v, kind) for k, v in self._merged().items()}, **head}, folder / "model.safetensors")
            self.bert.config.to_json_file(str(folder / "config.json"))
            (folder / "tokenizer.json").write_bytes((self.base / "tokenizer.json").read_bytes())
        (folder / CARD).write_text(card.model_dump_json(indent=2, exclude_none=True) + "\n", encoding="utf-8")

    @property
    def _prefix(self) -> str:
        """Of the encoder's tensors in the file of the base."""
        from safetensors import safe_open

        with safe_open(self.base / "model.safetensors", framework="numpy") as file:
            return next((word for word in ("bert.", "roberta.") if any(k.startswith(word) for k in file.keys())), "")  # noqa: SIM118

    @property
    def _types(self) -> int:
        return int(getattr(self.bert.config, "type_vocab_size", 2))

    def _choose(self, layers: int) -> None:
        """Which parameters learn."""
        recipe = self.recipe
        for name, one in self.bert.named_parameters():
            layer = int(name.split(".")[2]) if name.startswith("encoder.layer.") else -1
            learns = recipe.train == "all" or layer >= layers - int(recipe.train.removeprefix("last-"))
            one.requires_grad_(recipe.lora is None and learns and (layer >= 0 or recipe.embeddings == "trained"))
        if recipe.lora is not None:
            peft = extras.need("peft", feature="LoRA", extra="train")
            settings = peft.LoraConfig(
                r=recipe.lora.rank,
                lora_alpha=recipe.lora.alpha,
                lora_dropout=recipe.lora.dropout,
                target_modules=list(_TARGETS),
            )
            self.bert = peft.inject_adapter_in_model(settings, self.bert)

    def _lora(self) -> Iterator[tuple[str, str, Any]]:
        for name, module in self.bert.named_modules():
            if hasattr(module, "lora_A") and "default" in module.lora_A:
                yield name, "lora_A", module.lora_A["default"].weight
                yield name, "lora_B", module.lora_B["default"].weight

    def _merged(self) -> dict[str, Any]:
        if self.recipe.lora is None:
            return dict(self.bert.state_dict())
        scale = self.recipe.lora.alpha / self.recipe.lora.rank
        found = {name.replace(".base_layer", ""): one for name, one in self.bert.state_dict().items()}
        sides = {f"{name}.{side}": one for name, side, one in self._lora()}
        for name in [key.removesuffix(".lora_A") for key in sides if key.endswith(".lora_A")]:
            found[f"{name}.weight"] = found[f"{name}.weight"] + scale * (
                sides[f"{name}.lora_B"].detach() @ sides[f"{name}.lora_A"].detach()
            )
        return {name: one for name, one in found.items() if ".lora_" not in name and not name.endswith("position_ids")}


def check_target(folder: Path) -> None:
    """Raise DataError if the folder holds something other than a trained reranker."""
    if folder.exists() and not (folder / CARD).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(
            f"{folder} exists and is not a trained reranker: it will not be overwritten, give another `out`"
        )


def digest(values: Sequence[str]) -> str:
    """First 16 hex digits of the SHA-256 of some texts."""
    return hashlib.sha256("\0".join(values).encode()).hexdigest()[:16]


def _array(tensor: Any, kind: Any) -> Any:
    return np.ascontiguousarray(tensor.detach().float().numpy().astype(kind))
