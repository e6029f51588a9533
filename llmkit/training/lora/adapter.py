"""A new LoRA adapter in a base model, and the probe that shows whether a trained one has an effect."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llmkit.errors import ModelError, unknown
from llmkit.models.local.adapter import PROBE
from llmkit.training.lora.recipe import LoraRecipe

_ALL_LINEAR = ("all-linear",)


def add_adapter(model: Any, recipe: LoraRecipe) -> Any:
    """Give the model a new adapter (Hu et al. 2021): A small and random, B zero, so that no output changes yet.

    Returns:
        The peft model; only A and B have gradients.

    Raises:
        ModelError: a target is not the end of any layer's name.
    """
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(recipe.seed)
    config = LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        target_modules="all-linear" if recipe.targets == _ALL_LINEAR else list(recipe.targets),
        lora_dropout=recipe.dropout,
        use_rslora=recipe.rslora,
        use_dora=recipe.dora,
        task_type="CAUSAL_LM",
    )
    if recipe.targets != _ALL_LINEAR:
        _check_targets(model, recipe.targets)
    try:
        return get_peft_model(model, config, autocast_adapter_dtype=True)
    except ValueError as error:
        raise ModelError(f"targets {list(recipe.targets)}: {error}") from error


def effect(model: Any, tokenizer: Any) -> float:
    """The effect of the adapter on a fixed prompt: the largest change of the log probability of a first token."""
    import torch

    messages = [{"role": role, "content": text} for role, text in PROBE]
    prompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    ids = torch.tensor([tokenizer(prompt, add_special_tokens=False)["input_ids"]], device=model.device)
    with torch.inference_mode():
        adapted = torch.log_softmax(model(input_ids=ids).logits[0, -1].float(), -1)
        with model.disable_adapter():
            plain = torch.log_softmax(model(input_ids=ids).logits[0, -1].float(), -1)
    return float((adapted - plain).abs().max())


def _check_targets(model: Any, targets: Sequence[str]) -> None:
    """Each target must end the name of a layer; peft ignores the others as long as one does."""
    from torch.nn import Linear

    names = [name for name, _ in model.named_modules()]
    absent = [one for one in targets if not any(f".{name}".endswith(f".{one}") for name in names)]
    if absent:
        known = sorted({name.rpartition(".")[2] for name, layer in model.named_modules() if isinstance(layer, Linear)})
        raise ModelError("targets: " + "; ".join(unknown("layer", one, known) for one in absent))
