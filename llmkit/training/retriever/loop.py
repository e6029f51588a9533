"""The training loop of a retriever: steps, evaluations, checkpoints, and the best weights kept."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from llmkit.errors import DataError
from llmkit.training import checkpoint
from llmkit.training.checkpoint import Progress
from llmkit.training.data.examples import Example
from llmkit.training.retriever import losses
from llmkit.training.retriever.batching import Batch, epoch, targets
from llmkit.training.retriever.bi_encoder import Tokens, Towers
from llmkit.training.retriever.dev_eval import DevSet
from llmkit.training.retriever.gradcache import backward
from llmkit.training.retriever.recipe import RetrieverRecipe


@dataclass(frozen=True)
class Told:
    """Said after every step."""

    step: int
    steps: int
    """Most there will be."""
    loss: float
    """Mean of the last steps."""
    dev: dict[str, float]
    """The last evaluation; empty before the first."""
    tokens_per_second: float
    seconds_left: float
    """If it does not stop early."""
    peak_mb: float | None
    """Largest resident memory of the process."""


Tell = Callable[[Told], None]


class Loop:
    """One training, from its first step or from its checkpoint."""

    def __init__(
        self,
        recipe: RetrieverRecipe,
        towers: Towers,
        tokens: Tokens,
        examples: Sequence[Example],
        dev: DevSet,
        work: Path,
        digest: str,
    ) -> None:
        import torch

        self.recipe, self.towers, self.tokens, self.dev = recipe, towers, tokens, dev
        self.examples, self.work, self.digest = list(examples), work, digest
        self.parameters = towers.trainable()
        decayed = [value for value in self.parameters.values() if value.ndim > 1]
        plain = [value for value in self.parameters.values() if value.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": plain, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=recipe.lr)
        first = epoch(self.examples, recipe, 0)
        if not first:
            raise DataError("fewer than two examples with different passages: nothing can be told apart")
        self.steps = recipe.epochs * len(first)
        self.progress = Progress()

    @property
    def best_file(self) -> Path:
        """The best weights so far."""
        return self.work / "best.safetensors"

    @property
    def checkpoint_file(self) -> Path:
        """Where a killed training goes on."""
        return self.work / "checkpoint.safetensors"

    def run(self, tell: Tell = lambda _: None) -> Progress:
        """Train to the end, and leave the best weights in the towers.

        Raises:
            DataError: the loss or the gradient is not finite; says at which batch, and of which rows. The last good
                checkpoint and the best weights stay.
        """
        import torch

        if self.checkpoint_file.is_file():
            self.progress = checkpoint.load(self.checkpoint_file, self.parameters, self.optimizer, self.digest)
        else:
            torch.manual_seed(self.recipe.seed)
            self._evaluate()
            self._save()
        started, spent, seen = time.monotonic(), self.progress.seconds, self.progress.tokens
        while not self.progress.done:
            batches = epoch(self.examples, self.recipe, self.progress.epoch)
            while self.progress.batch < len(batches) and not self.progress.done:
                self._step(batches[self.progress.batch])
                self.progress.batch += 1
                self.progress.step += 1
                self.progress.seconds = spent + time.monotonic() - started
                if self.recipe.evaluate_every and self.progress.step % self.recipe.evaluate_every == 0:
                    self._evaluate()
                if self.progress.step % self.recipe.checkpoint_every == 0:
                    self._save()
                elapsed = max(time.monotonic() - started, 1e-9)
                tell(self._told((self.progress.tokens - seen) / elapsed))
            if self.progress.batch == len(batches):
                self.progress.epoch, self.progress.batch = self.progress.epoch + 1, 0
                last = self.progress.epoch == self.recipe.epochs
                if not self.recipe.evaluate_every or last:
                    self._evaluate()
                self.progress.done |= last
        self._save()
        self._restore_best()
        return self.progress

    def _step(self, batch: Batch) -> None:
        import torch

        self.towers.train(self.recipe.dropout > 0)
        queries = self.tokens("query", [one.query for one in batch.examples])
        passages = self.tokens("passage", [one.indexed_text for one in batch.passages])
        right = targets(batch, self.recipe, self.towers.device)
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.lr * self._schedule(self.progress.step)
        self.optimizer.zero_grad(set_to_none=True)
        value = backward(self.towers, queries, passages, lambda q, p: losses.loss(q, p, right, self.recipe))
        length = float("nan")
        if math.isfinite(value):
            length = float(torch.nn.utils.clip_grad_norm_(list(self.parameters.values()), self.recipe.clip))
        if not math.isfinite(length):
            what = "gradient" if math.isfinite(value) else "loss"
            kept = f"; the state after step {self._kept} is in {self.checkpoint_file}" if self._kept is not None else ""
            raise DataError(
                f"the {what} is not a number at step {self.progress.step + 1} (epoch {self.progress.epoch + 1}, batch "
                f"{self.progress.batch + 1}): {batch.rows}. Lower lr, or look at these rows{kept}"
            )
        self.optimizer.step()
        self.progress.losses.append(value)
        self.progress.tokens += sum(map(len, queries)) + sum(map(len, passages))

    def _schedule(self, step: int) -> float:
        warm = max(1, round(self.recipe.warmup * self.steps))
        if step < warm:
            return (step + 1) / warm
        return max(0.0, (self.steps - step) / max(1, self.steps - warm))

    def _evaluate(self) -> None:
        self.towers.train(False)
        figures = self.dev.figures(
            lambda side, texts: self.towers.vectors(side, self.tokens(side, texts)),  # type: ignore[arg-type]
            self.recipe.dim,
        )
        self.progress.dev.append({"step": self.progress.step, **figures})
        score = figures[self.recipe.measure]
        if score > self.progress.best:
            self.progress.best, self.progress.best_step, self.progress.stale = score, self.progress.step, 0
            header = {"recipe": self.digest, "step": str(self.progress.step)}
            checkpoint.write(self.best_file, {k: v.detach() for k, v in self.parameters.items()}, header)
        else:
            self.progress.stale += 1
            self.progress.done = self.progress.stale >= self.recipe.patience

    _kept: int | None = None

    def _save(self) -> None:
        checkpoint.save(self.checkpoint_file, self.parameters, self.optimizer, self.progress, self.digest)
        self._kept = self.progress.step

    def _restore_best(self) -> None:
        import torch
        from safetensors.torch import load_file

        with torch.no_grad():
            for name, value in load_file(self.best_file).items():
                self.parameters[name].copy_(value)

    def _told(self, rate: float) -> Told:
        recent = self.progress.losses[-20:]
        spent = self.progress.seconds / max(1, self.progress.step)
        return Told(
            self.progress.step,
            self.steps,
            sum(recent) / len(recent),
            self.progress.dev[-1] if self.progress.dev else {},
            rate,
            spent * max(0, self.steps - self.progress.step),
            peak_mb(),
        )


def peak_mb() -> float | None:
    """Largest resident memory of this process so far; None where the system does not say (Windows)."""
    try:
        import resource
    except ImportError:
        return None
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)
