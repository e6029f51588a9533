"""The training loop: packs without padding, logits only where something is learned, AdamW on the adapter alone.

A step takes `batch` examples whatever their length; its loss is the mean over all tokens it learns, so packing and the
order inside a step change nothing. The order of the data is a function of seed and epoch, so that a training that was
killed goes on along the same curve.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from pydantic import Field

from llmkit.errors import ModelError
from llmkit.part import Part
from llmkit.training.lora.chat_template import Example
from llmkit.training.lora.checkpoint import Checkpoint
from llmkit.training.lora.packing import Pack, attending, packed, shared, states


class Schedule(Part):
    """How long and how fast it learns."""

    epochs: float = Field(default=2.0, gt=0)
    """Times through the data; parts of one are allowed."""
    steps: int | None = Field(default=None, ge=1)
    """Optimiser steps, in place of epochs."""
    batch: int = Field(default=16, ge=1)
    """Examples in one optimiser step."""
    lr: float = Field(default=5e-4, gt=0)
    """Highest learning rate; it falls to a tenth along a cosine."""
    warmup: float = Field(default=0.05, ge=0, lt=1)
    """Share of the steps in which the rate rises from 0."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Of AdamW (Loshchilov & Hutter 2019)."""
    clip: float = Field(default=1.0, gt=0)
    """Longest gradient; longer ones are shortened to it."""
    pack_tokens: int = Field(default=2048, ge=16)
    """Tokens computed at once: what memory is needed for, and no more."""
    checkpointing: bool = False
    """Gradient checkpointing: less memory, a third more work."""
    evaluate_every: int = Field(default=50, ge=1)
    """Steps between two looks at the dev data, and between two checkpoints."""
    seed: int = 0
    """Of the order of the data, the first A and the dropout."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a training is."""

    step: int
    steps: int
    loss: float
    """Mean over the tokens of this step."""
    dev_loss: float | None
    """The last that was measured."""
    tokens_per_second: float
    """Read and learned, since this run began."""
    seconds_left: float


@dataclass
class Curve:
    """What was measured on the way."""

    losses: list[float] = field(default_factory=list)
    """Of each step."""
    dev: list[tuple[int, float]] = field(default_factory=list)
    """(step, loss on the dev data)."""
    best_step: int = 0
    """The step whose adapter is kept: the one of the least dev loss, or the last."""
    tokens: int = 0
    seconds: float = 0.0


def steps_of(schedule: Schedule, examples: int) -> int:
    """Optimiser steps of the whole training."""
    return schedule.steps or max(1, math.ceil(schedule.epochs * examples / schedule.batch))


def finetune(
    model: Any,
    train: Sequence[Any],
    dev: Sequence[Any],
    schedule: Schedule,
    objective: Objective,
    checkpoint: Checkpoint | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Curve:
    """Train what in `model` can be trained; afterwards it holds the adapter of the least dev loss.

    Raises:
        ModelError: the loss is not a number; names the step and its rows. Checkpoints before it are kept.
        DataError: a checkpoint cannot be written, or belongs to another training.
    """
    import torch

    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    optimizer = torch.optim.AdamW(trained.values(), lr=schedule.lr, weight_decay=schedule.weight_decay)
    total = steps_of(schedule, len(train))
    torch.manual_seed(schedule.seed)
    curve, best, begun = Curve(), {}, 0
    state = checkpoint.load(trained, optimizer) if checkpoint else None
    if state:
        best = state["best_tensors"]
        seen = [(int(at), float(value)) for at, value in state["dev"]]
        curve = Curve(state["losses"], seen, state["best_step"], state["tokens"], state["seconds"])
        begun = state["step"]
    if schedule.checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model.enable_input_require_grads()
    model.train()
    before, started, fresh = curve.seconds, time.monotonic(), 0
    with attending(model):
        for step, rows in batches(train, schedule, begun, total):
            for group in optimizer.param_groups:
                group["lr"] = rate_at(step, total, schedule)
            loss, tokens = _step(model, rows, schedule, step, objective)
            norm = torch.nn.utils.clip_grad_norm_(trained.values(), schedule.clip)
            if not math.isfinite(loss) or not torch.isfinite(norm):
                raise _not_a_number(step, rows, loss)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            curve.losses.append(loss)
            curve.tokens += tokens
            fresh += tokens
            last = step + 1 == total
            if (step + 1) % schedule.evaluate_every == 0 or last:
                if dev:
                    curve.dev.append((step + 1, loss_on(model, dev, schedule.pack_tokens, objective)))
                if not dev or curve.dev[-1][1] <= min(value for _, value in curve.dev):
                    curve.best_step = step + 1
                    best = {name: parameter.detach().clone() for name, parameter in trained.items()} if dev else {}
                curve.seconds = before + time.monotonic() - started
                if checkpoint and not last:
                    kept = {"step": step + 1, "losses": curve.losses, "dev": curve.dev, "best_step": curve.best_step}
                    kept |= {"tokens": curve.tokens, "seconds": curve.seconds, "best_tensors": best}
                    checkpoint.save(trained, optimizer, kept)
            if on_progress:
                elapsed = max(time.monotonic() - started, 1e-9)
                left = elapsed / (step + 1 - begun) * (total - step - 1)
                dev_loss = curve.dev[-1][1] if curve.dev else None
                on_progress(Progress(step + 1, total, loss, dev_loss, fresh / elapsed, left))
    curve.seconds = before + time.monotonic() - started
    with torch.no_grad():
        for name, value in best.items():
            trained[name].copy_(value)
    model.eval()
    return curve


def batches(train: Sequence[Any], schedule: Schedule, begun: int, total: int) -> Iterator[tuple[int, list[Any]]]:
    """The examples of each step from `begun` on: a new order for each time through the data.

    Examples about the same passages come one after another, so that a step reads the passages once for all of them.
    """
    per_epoch = max(1, math.ceil(len(train) / schedule.batch))
    together = alike([row.ids for row in train])
    order: list[int] = []
    for step in range(begun, total):
        epoch, at = divmod(step, per_epoch)
        if at == 0 or not order:
            order = mixed(together, max(1, schedule.batch // 4), random.Random(f"{schedule.seed} {epoch}"))  # noqa: S311
        yield step, [train[n] for n in order[at * schedule.batch : (at + 1) * schedule.batch]]


def alike(rows: Sequence[Sequence[int]]) -> list[list[int]]:
    """Positions of rows of tokens, those together that have the first half of the shorter one in common."""
    groups: list[list[int]] = []
    for n in sorted(range(len(rows)), key=lambda n: (rows[n], n)):
        before = rows[groups[-1][-1]] if groups else ()
        if groups and 2 * shared(before, rows[n]) > min(len(before), len(rows[n])):
            groups[-1].append(n)
        else:
            groups.append([n])
    return groups


def mixed(groups: Sequence[Sequence[int]], most: int, rng: random.Random) -> list[int]:
    """A new order, in which members of a group stand together, but never more than `most` of them."""
    parts = []
    for group in groups:
        members = list(group)
        rng.shuffle(members)
        parts += [members[at : at + most] for at in range(0, len(members), most)]
    rng.shuffle(parts)
    return [n for part in parts for n in part]


def rate_at(step: int, total: int, schedule: Schedule) -> float:
    """Learning rate of a step, counted from 0."""
    warm = math.ceil(schedule.warmup * total)
    if step < warm:
        return schedule.lr * (step + 1) / warm
    share = (step - warm) / max(1, total - warm)
    return schedule.lr * (0.1 + 0.9 * (1 + math.cos(math.pi * share)) / 2)


class Objective(Protocol):
    """What is made small: a sum over units (tokens, pairs), so that packs can be added up."""

    def packs(self, rows: Sequence[Any], budget: int) -> list[Pack]:
        """Rows as packs of about `budget` tokens."""
        ...

    def units(self, pack: Pack) -> int:
        """How many units the loss of a pack is the sum of."""
        ...

    def loss(self, model: Any, pack: Pack) -> Any:
        """The sum, as a tensor of no dimension."""
        ...


class Answers:
    """Cross-entropy of the tokens of the answers; logits are made for these only, in float32."""

    def packs(self, rows: Sequence[Example], budget: int) -> list[Pack]:
        """Examples side by side."""
        return list(packed(rows, budget))

    def units(self, pack: Pack) -> int:
        """Learned tokens."""
        return len(pack.targets)

    def loss(self, model: Any, pack: Pack) -> Any:
        """Sum over the learned tokens."""
        return -log_probabilities(model, pack).sum()


def log_probabilities(model: Any, pack: Pack) -> Any:
    """Natural logarithm of the probability of each learned token of a pack: (learned,), float32."""
    from torch.nn.functional import cross_entropy

    body = model.get_base_model() if hasattr(model, "get_base_model") else model
    logits = body.lm_head(states(model, pack)).float()
    return -cross_entropy(logits, pack.targets.to(logits.device), reduction="none")


def loss_on(model: Any, rows: Sequence[Any], budget: int, objective: Objective) -> float:
    """Mean loss of rows, without dropout."""
    import torch

    total = count = 0.0
    training = model.training
    model.eval()
    with torch.no_grad():
        for pack in objective.packs(rows, budget):
            total += float(objective.loss(model, pack))
            count += objective.units(pack)
    model.train(training)
    return total / count


def _step(model: Any, rows: Sequence[Any], schedule: Schedule, step: int, objective: Objective) -> tuple[float, int]:
    """Add the gradients of a step; returns its loss and its tokens."""
    packs = objective.packs(rows, schedule.pack_tokens)
    units = sum(objective.units(pack) for pack in packs)
    loss = 0.0
    for pack in packs:
        part = objective.loss(model, pack) / units
        loss += float(part.detach())
        if not math.isfinite(loss):
            raise _not_a_number(step, [row for row in rows if row.place in pack.places], loss)
        part.backward()
    return loss, sum(sum(pack.lengths) for pack in packs)


def _not_a_number(step: int, rows: Sequence[Any], loss: float) -> ModelError:
    places = ", ".join(row.place for row in rows[:20])
    return ModelError(
        f"step {step + 1}: the loss is {loss} and the gradient no number; its rows are {places}. Look at them, lower "
        "`lr`, or train in float32 (precision: fp32); what was saved before this step is kept"
    )
