"""A retriever's recipe: everything that decides what is learnt, as YAML keys."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from llmkit.arguments import many_texts
from llmkit.registry import one_of
from llmkit.training import recipes
from llmkit.training.recipes import LoraSettings, Section


class RetrieverRecipe(Section):
    """What ``llmkit train retriever`` reads."""

    recipe: Literal["retriever"]
    """The word that tells a recipe from a pipeline."""
    name: str = "retriever"
    """Named in the encoder's identity."""
    out: Path
    """Folder of the trained retriever; its checkpoints lie beside it until it is done."""

    data: Annotated[Any, one_of("examples")]
    """Questions with their passages: {type: qa | beir | squad | dpr | pairs | mined, path: …}."""
    dev: Annotated[Any, one_of("examples")] | None = None
    """Held-out questions for early stopping; none: dev_share of the data."""
    dev_share: float = Field(default=0.1, gt=0, lt=1)
    """Share of the data held out where `dev` is not given; questions on one passage stay on one side."""
    corpus: Path | None = None
    """JSONL of every passage that dev questions are searched in; none: that of `dev` or `data`, or their passages."""
    absent_answers: Literal["tell", "drop"] = "tell"
    """What becomes of an example whose answer stands in none of its passages."""

    base: str = "minilm"
    """Encoder to start from: a name of `llmkit models list`, or a folder that transformers reads."""
    init: Literal["base", "random"] = "base"
    """random: the base's architecture and tokenizer, weights from nothing."""
    towers: Literal["shared", "two"] = "shared"
    """One encoder for both sides, or one each as in DPR."""
    pooling: Literal["auto", "mean", "cls", "max"] = "auto"
    """How token vectors become one; auto: as the base says, else mean."""
    query_prefix: str = ""
    """Put before every question."""
    passage_prefix: str = ""
    """Put before every passage."""
    max_tokens: int = Field(default=256, ge=8)
    """Longest text, special tokens and prefix included; what is longer is cut, and counted."""
    dim: int | None = Field(default=None, ge=8)
    """Keep the first so many dimensions (with matryoshka); none: all."""

    train: str = "all"
    """Layers that learn: all, or last-N."""
    embeddings: Literal["frozen", "trained"] = "frozen"
    """Word embeddings are half of a small encoder; frozen, the saved retriever is half as large."""
    lora: LoraSettings | None = None
    """Adapters instead of full weights."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """In the encoder."""

    batch: int = Field(default=64, ge=2)
    """Questions that are told apart in one step; memory does not grow with it (GradCache)."""
    hard_negatives: int = Field(default=1, ge=0)
    """Hard negatives of each question in a step, where the data has them."""
    micro_tokens: int = Field(default=1024, ge=64)
    """Tokens encoded at once, padding included."""
    graph_tokens: int = Field(default=12288, ge=0)
    """Tokens a step may hold for its gradient: what memory grows with. A larger step encodes twice (GradCache)."""
    scale: float = Field(default=20.0, gt=0)
    """Cosines are multiplied by it before the softmax: 1 / temperature."""
    symmetric: bool = False
    """Tell questions of a passage apart, too."""
    distil: Literal["none", "margin-mse", "kl"] = "none"
    """Learn a teacher's scores: margins (Hofstätter et al. 2020) or distribution; the data has the scores."""
    distil_weight: float = Field(default=1.0, ge=0)
    """Weight of that loss beside the ranking loss."""
    teacher_scale: float = Field(default=1.0, gt=0)
    """The teacher's scores are multiplied by it."""
    matryoshka: tuple[int, ...] = ()
    """Dimensions at which vectors must work, cut, too (Kusupati et al. 2022)."""
    quantise: Literal["none", "int8", "binary"] = "none"
    """Let the loss see vectors as a compressed index keeps them (straight-through; Bengio et al. 2013)."""

    epochs: int = Field(default=8, ge=1)
    """Times through the data, at most."""
    lr: float = Field(default=5e-5, gt=0)
    """Highest learning rate of AdamW."""
    warmup: float = Field(default=0.1, ge=0, lt=1)
    """Share of the steps in which it rises; then it falls in a line to 0."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Of matrices; biases and norms have none."""
    clip: float = Field(default=1.0, gt=0)
    """Longest gradient."""
    precision: Literal["auto", "f32", "bf16"] = "auto"
    """auto: bf16 where the CPU multiplies it or there is a GPU."""
    seed: int = 0
    """Of order, sampling, dropout and random weights."""
    threads: int | None = Field(default=None, ge=1)
    """none: OMP_NUM_THREADS, or all CPUs."""

    measure: Literal["mrr@10", "recall@1", "recall@5", "recall@20", "ndcg@10"] = "mrr@10"
    """What the dev set is judged by."""
    patience: int = Field(default=2, ge=1)
    """Evaluations without a better one before training stops."""
    evaluate_every: int | None = Field(default=None, ge=1)
    """Steps between evaluations; none: once an epoch."""
    checkpoint_every: int = Field(default=25, ge=1)
    """Steps between checkpoints."""
    weights: Literal["full", "changed"] = "full"
    """full: a folder that stands alone; changed: what differs from the base, which is named by its SHA-256."""
    weights_dtype: Literal["f32", "f16"] = "f32"
    """f16 halves the folder; its figures are taken after rounding."""

    @field_validator("out", "corpus")
    @classmethod
    def _home(cls, path: Path | None) -> Path | None:
        return path.expanduser() if path is not None else None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        recipes.check_layers(self.train)
        if self.dim is not None and self.matryoshka and self.dim not in self.matryoshka:
            raise ValueError(f"dim {self.dim} is not among matryoshka {list(self.matryoshka)}: cut where the loss cuts")
        if self.init == "random" and (
            self.lora or self.weights == "changed" or self.embeddings == "frozen" or self.train != "all"
        ):
            raise ValueError(
                "init: random has nothing to keep: set train: all, embeddings: trained, weights: full, no lora"
            )
        if self.distil != "none" and not self.hard_negatives:
            raise ValueError("distil learns a teacher's scores of hard negatives: set hard_negatives to 1 or more")
        if self.lora and self.train != "all":
            raise ValueError("lora adapts every layer: leave train: all")
        return self


def load_recipe(name: str, overrides: Sequence[str] = ()) -> RetrieverRecipe:
    """The recipe of a file, by path or by its name among the pipelines.

    Raises:
        ConfigError: everything that is wrong with it.
    """
    many_texts(overrides, "overrides")
    return recipes.load(name, overrides, RetrieverRecipe)
