"""The recipe of ``llmkit train lora``: one YAML file, whose keys are the fields here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from llmkit.arguments import many_texts
from llmkit.registry import one_of
from llmkit.training import recipes
from llmkit.training.lora.loop import Schedule

Conversations = Annotated[Any, one_of("conversations")]


class LoraRecipe(Schedule):
    """What an adapter is trained on, and how (Hu et al. 2021)."""

    recipe: Literal["lora"] = "lora"
    """What this file is."""
    name: str = "adapter"
    """For people."""
    out: str
    """Folder of the adapter; one that is there is replaced when the new one is whole."""
    base: str = "smollm2"
    """Name of `llmkit models list`, GGUF file, folder of safetensors, or name on the hub."""
    method: Literal["supervised", "dpo"] = "supervised"
    """supervised: learn the answers; dpo: prefer one answer to another (Rafailov et al. 2023)."""

    data: tuple[Conversations, ...]
    """What to learn: chat, instructions, questions, run; for dpo: preferences."""
    dev: tuple[Conversations, ...] = ()
    """Held out, to choose the step that is kept; none: `dev_share` of the data."""
    dev_share: float = Field(default=0.05, ge=0, lt=1)
    """Share of the data that is held out where no `dev` is given; rows with the same prompt stay on one side."""
    learn: Literal["last", "all"] = "last"
    """Which answers of a conversation are learned."""
    max_tokens: int = Field(default=1024, ge=8)
    """Longest example."""
    too_long: Literal["skip", "cut"] = "skip"
    """What becomes of longer ones; they are counted. cut: at their end, so that they do not teach where to stop."""

    rank: int = Field(default=16, ge=1)
    """Inner size of A and B."""
    alpha: int = Field(default=32, ge=1)
    """BA is multiplied by alpha / rank."""
    targets: tuple[str, ...] = ("all-linear",)
    """Layers that are adapted, by the end of their name, as in q_proj; or all-linear."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """On what A reads; above 0 the slower forward pass of peft is used."""
    rslora: bool = False
    """Multiply by alpha / sqrt(rank) instead (Kalajdzievski 2023)."""
    dora: bool = False
    """Learn the length of each column apart (Liu et al. 2024); slower."""
    qlora: bool = False
    """Base in 4 bits (Dettmers et al. 2023); needs a CUDA GPU and bitsandbytes."""
    beta: float = Field(default=0.1, gt=0)
    """Of dpo: how near the adapter stays to its base."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Of the base while training; auto: bf16 where the processor multiplies it. The adapter is always float32."""
    weights_dtype: Literal["f32", "f16"] = "f32"
    """What the adapter is saved as; f16: half as large, rounded once, after training."""
    threads: int | None = Field(default=None, ge=1)
    """None: OMP_NUM_THREADS, or all CPUs."""

    @field_validator("data", "dev", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: object) -> object:
        if value is None:
            return ()
        return (value,) if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _fits(self) -> LoraRecipe:
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
    """The recipe of a file, or of a name below ``pipelines/``.

    Raises:
        ConfigError: with every problem.
    """
    many_texts(overrides, "overrides")
    return recipes.load(name, overrides, LoraRecipe)
