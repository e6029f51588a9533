"""The forward pass of a LoRA layer as one function that keeps little memory for the backward pass.

::

    y = x Wᵀ + scale · (x Aᵀ) Bᵀ            W frozen, A (rank × in) and B (out × rank) learned, in float32

peft computes the same with a float32 copy of x for each layer. Here the products are computed in the base's own
precision. Only x, which layers with the same input share, and x Aᵀ are kept for the backward pass; the gradients of A
and B are summed in float32. Layers with DoRA, or with dropout on x, keep peft's forward pass.
"""

from __future__ import annotations

import types
from typing import Any


def use_lean_forward(model: Any) -> int:
    """Give every plain LoRA layer of a peft model the lean forward pass; returns how many layers have it."""
    from peft.tuners.lora import Linear

    count = 0
    for module in model.modules():
        if type(module) is Linear and _plain(module):
            module.forward = types.MethodType(_forward, module)  # type: ignore[method-assign]
            count += 1
    return count


def _plain(layer: Any) -> bool:
    name = next(iter(layer.lora_A), None)
    return (
        name is not None
        and len(layer.lora_A) == 1
        and not layer.use_dora.get(name)
        and not layer.lora_bias.get(name)
        and type(layer.lora_dropout[name]).__name__ == "Identity"
        and not layer.fan_in_fan_out
    )


def _forward(layer: Any, x: Any, *_: Any, **__: Any) -> Any:
    name = next(iter(layer.lora_A))
    base = layer.base_layer
    if layer.disable_adapters or layer.merged:
        return base(x)
    a, b = layer.lora_A[name].weight, layer.lora_B[name].weight
    return _function().apply(x, base.weight, base.bias, a, b, layer.scaling[name])


def _function() -> Any:
    """The autograd function, created on first use because importing torch is slow."""
    global _made
    if _made is None:
        _made = _make()
    return _made


_made: Any = None


def _make() -> Any:
    import torch

    class LeanLora(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, weight: Any, bias: Any, a: Any, b: Any, scale: float) -> Any:
            inner = x @ a.to(x.dtype).T
            y = torch.nn.functional.linear(x, weight, bias)
            rows = y.view(-1, y.shape[-1])
            rows.addmm_(inner.view(-1, inner.shape[-1]), b.to(x.dtype).T, alpha=scale)
            ctx.save_for_backward(x, inner, weight, a, b)
            ctx.scale = scale
            return y

        @staticmethod
        def backward(ctx: Any, dy: Any) -> Any:
            x, inner, weight, a, b = ctx.saved_tensors
            rows = dy.reshape(-1, dy.shape[-1])
            flat, narrow = x.reshape(-1, x.shape[-1]), inner.reshape(-1, inner.shape[-1])
            through = rows @ b.to(dy.dtype)
            through *= ctx.scale
            db = (rows.T @ narrow).float().mul_(ctx.scale)
            da = (through.T @ flat).float()
            dx = None
            if ctx.needs_input_grad[0]:
                dx = rows @ weight
                dx.addmm_(through, a.to(dy.dtype))
                dx = dx.view_as(x)
            return dx, None, None, da, db, None

    return LeanLora
