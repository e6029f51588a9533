"""A reranker's recipe: everything that decides what is learnt, as YAML keys."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from llmkit.arguments import many_texts
from llmkit.registry import one_of
from llmkit.training import recipes
from llmkit.training.recipes import LoraSettings, Section


class RerankerRecipe(Section):
    """What ``llmkit train reranker`` reads."""

    recipe: Literal["reranker"]
    """The word that tells a recipe from a pipeline."""
    out: Path
    """Folder of the trained reranker; its checkpoints lie beside it until it is done."""

    data: Annotated[Any, one_of("examples")]
    """Questions with their passages. A corpus of theirs is searched for wrong passages; else they bring negatives."""
    dev: Annotated[Any, one_of("examples")] | None = None
    """Held-out questions for early stopping; none: dev_share of the data."""
    dev_share: float = Field(default=0.1, gt=0, lt=1)
    """Share of the data held out where `dev` is not given; questions on one passage stay on one side."""
    test: Annotated[Any, one_of("examples")] | None = None
    """Questions that neither training nor early stopping sees, for the gate at the end; none: no verdict."""
    depth: int = Field(default=30, ge=2)
    """Passages that are found for a question and reranked."""
    absent_answers: Literal["tell", "drop"] = "tell"
    """What becomes of an example whose answer stands in none of its passages."""

    base: str = "minilm"
    """Encoder to start from: a name of `llmkit models list`, or a folder that transformers reads."""
    layers: int | None = Field(default=None, ge=1)
    """Only the first so many layers of the base: faster, and a little worse; none: all."""
    max_tokens: int = Field(default=256, ge=16)
    """Longest pair, special tokens included; in training a longer passage is cut, and counted."""
    train: str = "all"
    """Layers that learn: all, or last-N."""
    embeddings: Literal["frozen", "trained"] = "frozen"
    """Word embeddings are half of a small encoder."""
    lora: LoraSettings | None = None
    """Adapters instead of full weights."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """In the encoder."""
    prior: float = Field(default=10.0, ge=0)
    """Where the weight of the retriever's own score begins, beside the model's; it is learnt. 0: it has no say."""

    loss: Literal["listwise", "bce"] = "listwise"
    """listwise: softmax over a question's passages; bce: each passage by itself."""
    batch: int = Field(default=8, ge=1)
    """Questions of a step."""
    negatives: int = Field(default=7, ge=1)
    """Wrong passages of a question in a step, drawn anew each time."""
    micro_tokens: int = Field(default=1024, ge=64)
    """Tokens run through the encoder at once, padding included."""

    epochs: int = Field(default=2, ge=1)
    """Times through the data, at most."""
    steps: int | None = Field(default=None, ge=1)
    """Steps, at most."""
    lr: float = Field(default=5e-5, gt=0)
    """Highest learning rate of AdamW."""
    head_lr: float = Field(default=1e-3, gt=0)
    """Of the new layer on top."""
    warmup: float = Field(default=0.1, ge=0, lt=1)
    """Share of the steps in which it rises; then it falls in a line to 0."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Of matrices; biases and norms have none."""
    clip: float = Field(default=1.0, gt=0)
    """Longest gradient."""
    precision: Literal["auto", "f32", "bf16"] = "auto"
    """auto: bf16 where the CPU multiplies it."""
    seed: int = 0
    """Of order, sampling and dropout."""
    threads: int | None = Field(default=None, ge=1)
    """none: OMP_NUM_THREADS, or all CPUs."""

    patience: int = Field(default=3, ge=1)
    """Evaluations without a better dev MRR@10 before training stops."""
    evaluate_every: int | None = Field(default=None, ge=1)
    """Steps between evaluations; none: once an epoch."""
    checkpoint_every: int = Field(default=25, ge=1)
    """Steps between checkpoints."""
    weights: Literal["full", "changed"] = "full"
    """full: a folder that stands alone; changed: with lora, the adapter alone, and its base by its SHA-256."""
    weights_dtype: Literal["f32", "f16"] = "f16"
    """f16 halves the folder."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        recipes.check_layers(self.train)
        if self.lora and (self.train != "all" or self.embeddings == "trained"):
            raise ValueError("lora adapts every layer and nothing else: leave train: all and embeddings: frozen")
        if self.weights == "changed" and not self.lora:
            raise ValueError("weights: changed saves an adapter: set lora, or weights: full")
        return self


def load_recipe(name: str, overrides: Sequence[str] = ()) -> RerankerRecipe:
    """The recipe of a file, by path or by its name among the pipelines.

    Raises:
        ConfigError: everything that is wrong with it.
    """
    many_texts(overrides, "overrides")
    return recipes.load(name, overrides, RerankerRecipe)
