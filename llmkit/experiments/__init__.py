"""Experiments: many arms on one task, decided with as few calls as they need."""

from __future__ import annotations

from llmkit.lazy import lazy_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from llmkit.experiments.experiment import Experiment as Experiment
    from llmkit.experiments.experiment import load_experiment as load_experiment
    from llmkit.experiments.optimise.strategy import Optimise as Optimise
    from llmkit.experiments.race.race import Decision as Decision
    from llmkit.experiments.race.strategies import LUCB as LUCB
    from llmkit.experiments.race.strategies import EpsilonGreedy as EpsilonGreedy
    from llmkit.experiments.race.strategies import Grid as Grid
    from llmkit.experiments.race.strategies import SuccessiveElimination as SuccessiveElimination
    from llmkit.experiments.race.strategies import TopTwoThompson as TopTwoThompson
    from llmkit.experiments.running import Standing as Standing
    from llmkit.experiments.running import prepare as prepare
    from llmkit.experiments.running import run as run

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "experiment": ["Experiment", "load_experiment"],
        "optimise.strategy": ["Optimise"],
        "race.race": ["Decision"],
        "running": ["Standing", "prepare", "run"],
        "race.strategies": ["EpsilonGreedy", "Grid", "LUCB", "SuccessiveElimination", "TopTwoThompson"],
    },
)
