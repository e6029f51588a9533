"""The strategy ``optimise``: what a search for a better prompt may do."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field, field_validator

from llmkit import prompts
from llmkit.experiments.optimise.edits import PHRASES, REPHRASED
from llmkit.experiments.race.race import Race
from llmkit.experiments.race.strategies import Strategy
from llmkit.models.chat import ChatModelSpec
from llmkit.part import Part
from llmkit.registry import one_of


class Optimise(Part):
    """Searches for a better version of one prompt, and keeps it only if samples it has never seen say so."""

    family: ClassVar[str] = "strategy"
    type: ClassVar[str] = "optimise"

    prompt: str
    """Dotted path of the prompt that is worked on, as in ``steps.generate.prompt``."""
    rounds: int = Field(default=2, ge=1, le=20)
    """Races, each between what the last one left and what is made of that."""
    sets: int = Field(default=4, ge=0)
    """Sets of worked examples to try, each round."""
    examples: int = Field(default=4, ge=0)
    """Examples in a set, at most; 0: none."""
    labels: bool = True
    """Every second set is filled up with right answers of the data set; else only what a model said well."""
    good: float = Field(default=1.0, ge=0, le=1)
    """Least score of an answer that may be an example."""
    teacher: ChatModelSpec | None = None
    """Chat model of the pipeline whose answers become examples; none: the pipeline as it is."""
    edits: int = Field(default=4, ge=0)
    """Edited instructions to try, each round: a sentence dropped, swapped, moved, rephrased or added."""
    phrases: tuple[str, ...] = PHRASES
    """Sentences that may be added."""
    rephrase: dict[str, tuple[str, ...]] = Field(default_factory=lambda: dict(REPHRASED))
    """Words of an instruction, and what may stand in their place."""
    proposals: int = Field(default=0, ge=0)
    """Instructions written by a model, each round."""
    propose: Annotated[str, prompts.PromptRef("failures", "instruction", "tip")] = "propose@v1"
    """Prompt for that, with the variables ``failures``, ``instruction`` and ``tip``."""
    model: ChatModelSpec | None = None
    """Chat model that writes them; none: the pipeline's."""
    parents: int = Field(default=3, ge=1)
    """How many of a round are built upon in the next."""
    race: Annotated[Strategy, one_of("strategy")] = Field(default="successive", validate_default=True)
    """How candidates are raced."""
    learn: float = Field(default=0.2, gt=0, lt=1)
    """Share of the samples that examples and failures are taken from; nothing is judged on them."""
    held_back: float = Field(default=0.4, gt=0, lt=1)
    """Share of the samples that the search never sees: the winner is judged on them."""

    @field_validator("race")
    @classmethod
    def _no_search_in_a_search(cls, value: Strategy) -> Strategy:
        if isinstance(value, Optimise):
            raise ValueError("candidates are raced by successive, lucb, thompson, epsilon-greedy or grid")
        return value

    def next(self, race: Race, chance: np.random.Generator) -> list[int]:
        """Whoever the race inside says."""
        return self.race.next(race, chance)
