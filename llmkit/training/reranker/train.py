"""A small cross-encoder, trained to put the right passage first among those that a retriever found.

::

    question + passage ─► cross-encoder ─► score ┐
                          retriever's score · w ─┴─ sum ─ softmax over one right and n wrong passages ─► -log p(right)

The listwise loss is that of Gao, Dai & Callan 2021. The head starts at zero: before the first step the sum ranks as
the retriever does, so the model learns to correct what the retriever got wrong.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llmkit import cpu
from llmkit.encoders.runtime import tensors
from llmkit.extras import need
from llmkit.retrieval.rerankers.local_cross_encoder import LocalCrossEncoder
from llmkit.training import recipes
from llmkit.training.checkpoint import Checkpoint, TrainingState
from llmkit.training.data.rerank_candidates import Group
from llmkit.training.loop import Note, StepReport, TrainingLoop
from llmkit.training.loss_plot import loss_plot
from llmkit.training.reranker.cross_encoder import check_target, digest
from llmkit.training.reranker.objective import MEASURE, RerankerObjective, Scores
from llmkit.training.reranker.ranking import mrr
from llmkit.training.reranker.recipe import RerankerRecipe

_NO_EFFECT = ("out", "data", "dev", "test", "checkpoint_every", "threads", "weights", "weights_dtype")
"""Settings in which an unfinished training and its continuation may differ; the data is compared by its digest."""


@dataclass(frozen=True)
class Trained:
    """A trained reranker."""

    folder: Path
    state: TrainingState
    before: float
    """MRR@10 on the dev questions of the retriever alone."""
    after: float
    """MRR@10 on the dev questions with the reranker."""
    cut: int
    """Pairs that were longer than `max_tokens` and cut, over all steps of this run of the command."""


def train(
    recipe: RerankerRecipe,
    groups: Sequence[Group],
    dev: Sequence[Group],
    *,
    fresh: bool = False,
    note: Note = lambda _: None,
    on_step: Callable[[StepReport], None] = lambda _: None,
) -> Trained:
    """Train a reranker, or continue a training that was killed.

    Args:
        recipe: what to learn, and how.
        groups: questions with candidate passages to learn from.
        dev: the same to choose the best step by.
        fresh: discard an unfinished training.
        note: receives what the user should read, a line at a time.
        on_step: receives a report after each step.

    Raises:
        DataError: too little data, a loss that is not a number, or an unfinished training with other settings.
        MissingExtra: the extra `train` is not installed.
    """
    torch = need("torch", feature="training a reranker", extra="train")
    out = recipe.out.expanduser()
    check_target(out)
    torch.set_num_threads(recipe.threads or cpu.threads())
    objective = RerankerObjective(recipe, groups, dev)
    settings = {name: value for name, value in recipes.plain(recipe).items() if name not in _NO_EFFECT}
    rows = [(group.query, *group.passages, str(group.right)) for group in (*objective.groups, *dev)]
    data_digest = digest([text for row in rows for text in row])
    base_digest = tensors.digest(objective.net.base)
    checkpoint = Checkpoint(out, {**settings, "base weights": base_digest, "training data": data_digest})
    if fresh:
        checkpoint.clear()
    state = TrainingLoop(objective, objective.settings(), checkpoint, note, on_step).run()
    if state.best_step == 0:
        note("no evaluation was better than the retriever alone: the saved reranker ranks as the retriever does")
    objective.net.save(out)
    after = mrr(dev, objective.scores(dev))
    plot = loss_plot(
        state.losses, [(row["step"], row[MEASURE]) for row in state.dev], f"reranker on {recipe.base}", MEASURE
    )
    (out / "loss.svg").write_text(plot, encoding="utf-8")
    curve = {"losses": state.losses, "dev": state.dev, "best_step": state.best_step}
    (out / "training.json").write_text(json.dumps(curve, indent=1) + "\n", encoding="utf-8")
    checkpoint.clear()
    return Trained(out, state, objective.before, after, objective.net.cut)


class ServedReranker:
    """A saved reranker, run as it will be served: without torch."""

    def __init__(self, folder: Path) -> None:
        self.model = LocalCrossEncoder(model=str(folder))

    def scores(self, groups: Sequence[Group]) -> list[Scores]:
        """The score of every passage of every question, the retriever's score included."""
        queries = [group.query for group in groups for _ in group.passages]
        own = self.model.score(queries, [passage for group in groups for passage in group.passages]).scores
        ends = np.cumsum([len(group.passages) for group in groups])[:-1]
        prior = self.model.card.prior
        return [one + prior * group.prior for one, group in zip(np.split(own, ends), groups, strict=True)]
