"""The recipe of ``llmkit train lora``: one YAML file, whose keys are the fields here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from llmkit.arguments import many_texts
from llmkit.part import Part
from llmkit.registry import one_of
from llmkit.training import recipes

Conversations = Annotated[Any, one_of("conversations")]


class LoraRecipe(Part):
    """What an adapter is trained on, and how (Hu et al. 2021)."""

    recipe: Literal["lora"] = "lora"
    """The kind of this file."""
    name: str = "adapter"
    """A name for people."""
    out: str
    """Folder of the adapter; an adapter that is there is replaced when the new one is complete."""
    base: str = "smollm2"
    """Name of `llmkit models list`, GGUF file, folder of safetensors, or name on the hub."""
    method: Literal["supervised", "dpo"] = "supervised"
    """supervised: learn the answers; dpo: prefer one answer to another (Rafailov et al. 2023)."""

    data: tuple[Conversations, ...]
    """What to learn: chat, instructions, questions, run; for dpo: preferences."""
    dev: tuple[Conversations, ...] = ()
    """Held-out data, to choose the step that is kept; none: `dev_share` of the data."""
    dev_share: float = Field(default=0.05, ge=0, lt=1)
    """Share of the data that is held out where no `dev` is given; rows with the same prompt stay on one side."""
    learn: Literal["last", "all"] = "last"
    """Which answers of a conversation are learned; a `weight` at a message overrides it."""
    max_tokens: int = Field(default=1024, ge=8)
    """Longest example."""
    too_long: Literal["skip", "cut"] = "skip"
    """skip: longer examples are left out; cut: they lose their end and do not teach where to stop. Both are counted."""

    epochs: float = Field(default=2.0, gt=0)
    """Passes over the data; fractions are allowed."""
    steps: int | None = Field(default=None, ge=1)
    """Optimiser steps, instead of epochs."""
    batch: int = Field(default=16, ge=1)
    """Examples in one optimiser step."""
    lr: float = Field(default=5e-4, gt=0)
    """Highest learning rate; it falls to a tenth along a cosine."""
    warmup: float = Field(default=0.05, ge=0, lt=1)
    """Share of the steps in which the learning rate rises from 0."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Weight decay of AdamW (Loshchilov & Hutter 2019)."""
    clip: float = Field(default=1.0, gt=0)
    """Longest gradient; a longer one is scaled down to this length."""
    pack_tokens: int = Field(default=2048, ge=16)
    """Tokens that are computed at once; the memory that is needed grows with it."""
    checkpointing: bool = False
    """Gradient checkpointing: less memory, a third more computation."""
    evaluate_every: int = Field(default=50, ge=1)
    """Steps between two evaluations on the dev data, each followed by a checkpoint."""
    patience: int | None = Field(default=None, ge=1)
    """Stop after so many evaluations without a lower dev loss; none: train to the end."""
    seed: int = 0
    """Seed of the order of the data, the first A and the dropout."""

    rank: int = Field(default=16, ge=1)
    """Inner size of A and B."""
    alpha: int = Field(default=32, ge=1)
    """BA is multiplied by alpha / rank."""
    targets: tuple[str, ...] = ("all-linear",)
    """Layers that are adapted, by the end of their name, as in q_proj; or all-linear."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout on the input of A; above 0 the slower forward pass of peft is used."""
    rslora: bool = False
    """Multiply by alpha / sqrt(rank) instead (Kalajdzievski 2023)."""
    dora: bool = False
    """Learn the length of each column separately (Liu et al. 2024); slower."""
    qlora: bool = False
    """Hold the base in 4 bits (Dettmers et al. 2023); needs a CUDA GPU and bitsandbytes."""
    beta: float = Field(default=0.1, gt=0)
    """For dpo: how close the adapter stays to its base; larger is closer."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Precision of the base in training; auto: bf16 if the processor multiplies it. The adapter is always float32."""
    weights_dtype: Literal["f32", "f16"] = "f32"
    """Type that the adapter is saved as; f16 is half as large, rounded once after training."""
    threads: int | None = Field(default=None, ge=1)
    """Threads of torch; none: OMP_NUM_THREADS, or all CPUs."""

    @field_validator("data", "dev", mode="before")
    @classmethod
    def _as_list(cls, value: object) -> object:
        if value is None:
            return ()
        return (value,) if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _check(self) -> LoraRecipe:
        if not self.data:
            raise ValueError("data: name at least one source of conversations")
        pairs = [one.type == "preferences" for one in (*self.data, *self.dev)]
        if any(pairs) != (self.method == "dpo") or any(pairs) != all(pairs):
            raise ValueError(
                "method: dpo learns from data of the type preferences, and nothing else does; here the method is "
                f"{self.method} and the data {', '.join(one.type for one in (*self.data, *self.dev))}"
            )
        return self


def load_recipe(name: str, overrides: Sequence[str] = ()) -> LoraRecipe:
    """Read a recipe by its path, or by its name among the pipelines.

    Raises:
        ConfigError: every problem of the recipe.
    """
    many_texts(overrides, "overrides")
    return recipes.load(name, overrides, LoraRecipe)
