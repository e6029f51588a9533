"""Examples from traces: what a pipeline did well becomes the examples of its next prompt.

Bootstrapping as in DSPy's BootstrapFewShot (Khattab et al. 2023): the pipeline, or a teacher, answers questions set
aside for it; an answer that scores well is an example, with the question and the passages it was given.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from llmkit.errors import ConfigError
from llmkit.evaluation.runs.run_folder import RunFolder
from llmkit.evaluation.runs.trace import read_sample, read_state
from llmkit.experiments.optimise.candidates import Candidate
from llmkit.pipeline import Pipeline
from llmkit.types import Sample, State


@runtime_checkable
class Exemplary(Protocol):
    """A step whose past work can become examples of its prompt."""

    def prompt_variables(self, state: State) -> dict[str, str]:
        """The values of the prompt's variables in a finished run, read from its state."""
        ...


@dataclass(frozen=True)
class Attempt:
    """What became of one question set aside."""

    sample: Sample
    score: float
    """Of the figure that decides; 0 where there is none."""
    raw: str
    """The reply of the model."""
    values: dict[str, str]
    """What its prompt's variables were filled with; empty where the step does not tell."""


def read_attempts(folder: RunFolder, pipeline: Pipeline, step: int, figure: str, ids: Sequence[str]) -> list[Attempt]:
    """What a run did on these samples, in their order; those that failed are left out."""
    wanted = set(ids)
    scores = {row["id"]: row["scores"].get(figure, 0.0) for row in folder.scores() if row["id"] in wanted}
    passages = folder.passages()
    part = pipeline.steps[step]
    found = {}
    for trace in folder.traces():
        if trace["id"] in wanted and trace["status"] == "ok":
            state = read_state(trace["state"], passages)
            raw = next(
                (str(r.detail.get("raw", "")) for r in state.records if r.step.startswith(f"steps[{step}] ")), ""
            )
            values = part.prompt_variables(state) if isinstance(part, Exemplary) else {}
            found[trace["id"]] = Attempt(read_sample(trace["sample"]), scores.get(trace["id"], 0.0), raw, values)
    return [found[name] for name in ids if name in found]


def check_exemplary(pipeline: Pipeline, step: int) -> None:
    """Whether examples can be made for this step.

    Raises:
        ConfigError: it does not tell what its prompt was filled with.
    """
    if not isinstance(pipeline.steps[step], Exemplary):
        raise ConfigError(
            f"strategy.prompt: steps[{step}] {pipeline.steps[step].type} does not tell what its prompt was filled "
            "with, so no examples can be made for it: set strategy.examples to 0"
        )


def example_set(
    candidate: Candidate, done: Sequence[Attempt], most: int, good: float, *, labels: bool, chance: random.Random
) -> Candidate | None:
    """The candidate with a drawn set of examples; None where nothing was done well enough.

    Args:
        candidate: whose examples are replaced.
        done: what was tried.
        most: examples at most; the number is drawn too.
        good: least score of a trace that may be an example.
        labels: fill up with right answers from the data set.
        chance: draws.
    """
    pool = [(one, one.raw.strip()) for one in done if one.values and one.raw.strip() and one.score >= good]
    origin = "examples from good traces"
    if labels:
        shown = {one.sample.id for one, _ in pool}
        pool += [
            (one, one.sample.answers[0]) for one in done
            if one.values and one.sample.answers and one.sample.id not in shown
        ]  # fmt: skip
        origin = "examples from good traces and right answers"
    if not pool:
        return None
    picked = chance.sample(pool, chance.randint(1, min(most, len(pool))))
    examples = tuple({**one.values, "answer": answer} for one, answer in picked)
    return candidate.with_examples(examples, f"{origin}: {', '.join(one.sample.id for one, _ in picked)}")
