"""A small cross-encoder, trained to put the right passage of a retriever's findings first.

::

    question + passage ─► cross-encoder ─► score ┐
                          retriever's score · w ─┴─ sum ─ softmax over one right and n wrong passages ─► -log p(right)

The listwise loss is that of Gao, Dai & Callan 2021. The head begins at zero: before the first step the sum ranks as
the retriever does, so what is learnt is what the retriever got wrong.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmkit import cpu
from llmkit.errors import DataError
from llmkit.retrieval.rerankers.local_cross_encoder import LocalCrossEncoder
from llmkit.training import checkpoint
from llmkit.training.checkpoint import Progress
from llmkit.training.data.rerank_candidates import Group
from llmkit.training.reranker.cross_encoder import CrossEncoder, digest, may_write
from llmkit.training.reranker.recipe import RerankerRecipe

Scores = NDArray[np.float32]
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Trained:
    """What a training came to."""

    folder: Path
    progress: Progress
    before: float
    """MRR@10 on the dev questions of the retriever alone."""
    after: float
    """MRR@10 of what was saved."""
    cut: int
    """Pairs of which something was not read, over all steps."""


def train(
    recipe: RerankerRecipe, groups: Sequence[Group], dev: Sequence[Group], tell: Tell = lambda _: None
) -> Trained:
    """Train, keep the best on dev, save. A run that was killed goes on from its last checkpoint.

    Raises:
        DataError: nothing to learn from, or the loss is no number any more (says at which step and rows).
        MissingExtra: torch is not installed.
    """
    return _Training(recipe, groups, dev, tell).run()


class _Training:
    def __init__(self, recipe: RerankerRecipe, groups: Sequence[Group], dev: Sequence[Group], tell: Tell) -> None:
        import torch

        self.recipe, self.dev, self.tell, self.torch = recipe, dev, tell, torch
        self.groups = [group for group in groups if group.positives and group.negatives]
        if len(self.groups) < recipe.batch or not dev:
            raise DataError(
                f"{len(self.groups)} questions with a right and a wrong passage and {len(dev)} for dev: too few for "
                f"batches of {recipe.batch}; more data, or a smaller batch. Wrong passages come from the corpus of the "
                "data or, where it has none, from `llmkit train mine`"
            )
        may_write(recipe.out.expanduser())
        torch.set_num_threads(recipe.threads or cpu.threads())
        self.net = CrossEncoder(recipe)
        self.parameters = dict(self.net.named())
        self.optimizer = torch.optim.AdamW(self._learning())
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        automatic = "bf16" if cpu.has_bfloat16() else "f32"
        self.precision = automatic if recipe.precision == "auto" else recipe.precision
        self.progress = Progress()
        self.per_epoch = len(self.groups) // recipe.batch
        self.steps = min(recipe.epochs * self.per_epoch, recipe.steps or 10**9)
        place = recipe.out.expanduser()
        self.path = place.with_name(f"{place.name}.checkpoint.safetensors")
        self.best = place.with_name(f"{place.name}.best.safetensors")
        shaping = recipe.model_dump_json(exclude={"out", "threads", "checkpoint_every"})
        self.mark = digest([shaping, *(text for g in [*self.groups, *dev] for text in (g.query, *g.passages))])

    def run(self) -> Trained:
        """From wherever the last sitting ended."""
        recipe, progress = self.recipe, self.progress
        before = mrr(self.dev, [group.prior for group in self.dev])
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.exists():
            self.progress = progress = checkpoint.load(self.path, self.parameters, self.optimizer, self.mark)
            self.tell(f"goes on at step {progress.step} of {self.steps}")
        else:
            progress.best = before if recipe.prior > 0 else -math.inf
            checkpoint.save(self.best, self.parameters, self.optimizer, progress, self.mark)
        every = recipe.evaluate_every or self.per_epoch
        while progress.step < self.steps and progress.stale < recipe.patience:
            self._step()
            if progress.step % every == 0 or progress.step == self.steps:
                self._evaluate()
            if progress.step % recipe.checkpoint_every == 0:
                checkpoint.save(self.path, self.parameters, self.optimizer, progress, self.mark)
        if self.best.exists():
            checkpoint.load(self.best, self.parameters, self.optimizer, self.mark)
        if progress.best_step == 0:
            self.tell("no step ranked the dev questions better than the beginning: what is saved ranks as that did")
        self.net.save(recipe.out.expanduser())
        after = mrr(self.dev, self.scores(self.dev))
        for file in (self.path, self.best):
            file.unlink(missing_ok=True)
        return Trained(recipe.out.expanduser(), progress, before, after, self.net.cut)

    def scores(self, groups: Sequence[Group]) -> list[Scores]:
        """Of every passage of every group."""
        torch = self.torch
        self.net.train(False)
        found = []
        with torch.no_grad():
            for at in range(0, len(groups), 16):
                some = groups[at : at + 16]
                queries = [group.query for group in some for _ in group.passages]
                passages = [passage for group in some for passage in group.passages]
                prior = torch.from_numpy(np.concatenate([group.prior for group in some]))
                total = self.net.score(queries, passages, self.precision) + self.net.prior * prior
                found += np.split(total.float().numpy(), np.cumsum([len(group.passages) for group in some])[:-1])
        return found

    def _learning(self) -> list[dict[str, Any]]:
        recipe = self.recipe
        plain = [one for name, one in self.parameters.items() if one.ndim > 1 and not name.startswith("classifier")]
        bare = [
            one
            for name, one in self.parameters.items()
            if one.ndim <= 1 and name != "prior" and "classifier" not in name
        ]
        head = [one for name, one in self.parameters.items() if name.startswith("classifier")]
        prior = [one for name, one in self.parameters.items() if name == "prior"]
        groups = [
            {"params": plain, "lr": recipe.lr, "weight_decay": recipe.weight_decay},
            {"params": bare, "lr": recipe.lr, "weight_decay": 0.0},
            {"params": head, "lr": recipe.head_lr, "weight_decay": 0.0},
            {"params": prior, "lr": 10 * recipe.head_lr, "weight_decay": 0.0},
        ]
        return [group for group in groups if group["params"]]

    def _step(self) -> None:
        torch, recipe, progress = self.torch, self.recipe, self.progress
        started = time.perf_counter()
        torch.manual_seed(
            recipe.seed * 1_000_003 + progress.step
        )  # dropout of a step is its own: a resumed run has the same
        epoch, at = divmod(progress.step, self.per_epoch)
        order = Random(f"{recipe.seed} {epoch}").sample(range(len(self.groups)), len(self.groups))  # noqa: S311
        some = [self.groups[i] for i in order[at * recipe.batch : (at + 1) * recipe.batch]]
        queries, passages, prior, width = [], [], [], []
        for group in some:
            chosen = pick(group, recipe.negatives, Random(f"{recipe.seed} {progress.step} {group.query}"))  # noqa: S311
            queries += [group.query] * len(chosen)
            passages += [group.passages[i] for i in chosen]
            prior += [float(group.prior[i]) for i in chosen]
            width.append(len(chosen))
        share = self._share()
        for group_, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group_["lr"] = rate * share
        self.net.train(True)
        own = self.net.score(queries, passages, self.precision)
        value = self._loss(own + self.net.prior * torch.tensor(prior), width)
        found = float(value.detach())
        self.optimizer.zero_grad()
        length = found
        if math.isfinite(found):
            value.backward()
            length = float(torch.nn.utils.clip_grad_norm_(list(self.parameters.values()), recipe.clip))
        if not math.isfinite(length):
            what = "gradient" if math.isfinite(found) else "loss"
            rows = ", ".join(group.place or group.query[:40] for group in some[:8])
            raise DataError(
                f"the {what} is {length} at step {progress.step} (rows {rows}): a lower lr, or precision: f32; "
                f"the last checkpoint is {self.path}"
            )
        self.optimizer.step()
        progress.step += 1
        progress.losses.append(found)
        progress.tokens += self.net.tokens
        progress.seconds += time.perf_counter() - started
        if progress.step % 20 == 0:
            mean = float(np.mean(progress.losses[-20:]))
            rate = progress.tokens / progress.seconds
            self.tell(f"step {progress.step} of {self.steps}: loss {mean:.3f}, {rate:.0f} tokens/s")

    def _loss(self, scores: Any, width: list[int]) -> Any:
        """Mean over questions; the right passage is the first of its question."""
        torch = self.torch
        losses = []
        for part in torch.split(scores, width):
            if self.recipe.loss == "listwise":
                losses.append(torch.logsumexp(part, 0) - part[0])
            else:
                wanted = torch.zeros_like(part)
                wanted[0] = 1.0
                losses.append(torch.nn.functional.binary_cross_entropy_with_logits(part, wanted))
        return torch.stack(losses).mean()

    def _share(self) -> float:
        """Of the highest rate: a rise over the first steps, then a line down to zero."""
        rise = max(1, round(self.recipe.warmup * self.steps))
        step = self.progress.step
        return (step + 1) / rise if step < rise else max(0.0, (self.steps - step) / max(1, self.steps - rise))

    def _evaluate(self) -> None:
        progress = self.progress
        found = mrr(self.dev, self.scores(self.dev))
        progress.dev.append({"step": float(progress.step), "mrr@10": found})
        better = found > progress.best
        self.tell(f"step {progress.step}: dev MRR@10 {found:.4f}{' (best so far)' if better else ''}")
        if better:
            progress.best, progress.best_step, progress.stale = found, progress.step, 0
            checkpoint.save(self.best, self.parameters, self.optimizer, progress, self.mark)
        else:
            progress.stale += 1


class Scorer:
    """What was saved, run as it will be served: without torch."""

    def __init__(self, folder: Path) -> None:
        self.served = LocalCrossEncoder(model=str(folder))

    def scores(self, groups: Sequence[Group]) -> list[Scores]:
        """Of every passage of every group, the retriever's say included."""
        queries = [group.query for group in groups for _ in group.passages]
        own = self.served.score(queries, [passage for group in groups for passage in group.passages]).scores
        ends = np.cumsum([len(group.passages) for group in groups])[:-1]
        prior = self.served.card.prior
        return [one + prior * group.prior for one, group in zip(np.split(own, ends), groups, strict=True)]


def pick(group: Group, negatives: int, random: Random) -> list[int]:
    """A right passage, then wrong ones, drawn: positions in the group."""
    wrong = group.negatives
    return [random.choice(group.positives), *random.sample(wrong, min(negatives, len(wrong)))]


def mrr(groups: Sequence[Group], scores: Sequence[Any], k: int = 10) -> float:
    """Mean reciprocal rank of the first right passage; 0 where the retriever found none."""
    return float(np.mean(reciprocal_ranks(groups, scores, k)))


def reciprocal_ranks(groups: Sequence[Group], scores: Sequence[Any], k: int = 10) -> list[float]:
    """One a question."""
    found = []
    for group, value in zip(groups, scores, strict=True):
        order = np.argsort(-np.asarray(value), kind="stable")[:k]
        rank = next((rank for rank, i in enumerate(order, 1) if group.right[i]), None) if group.found else None
        found.append(1.0 / rank if rank else 0.0)
    return found
