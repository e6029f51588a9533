"""Best-arm identification: which of many arms is best on the same items, with as few scores as that takes."""

from __future__ import annotations

from llmkit.lazy import lazy_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from llmkit.experiments.race.evidence import Evidence as Evidence
    from llmkit.experiments.race.evidence import interval as interval
    from llmkit.experiments.race.race import Decision as Decision
    from llmkit.experiments.race.race import Race as Race
    from llmkit.experiments.race.strategies import LUCB as LUCB
    from llmkit.experiments.race.strategies import EpsilonGreedy as EpsilonGreedy
    from llmkit.experiments.race.strategies import Grid as Grid
    from llmkit.experiments.race.strategies import Strategy as Strategy
    from llmkit.experiments.race.strategies import SuccessiveElimination as SuccessiveElimination
    from llmkit.experiments.race.strategies import TopTwoThompson as TopTwoThompson

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "evidence": ["Evidence", "interval"],
        "race": ["Decision", "Race"],
        "strategies": ["LUCB", "EpsilonGreedy", "Grid", "Strategy", "SuccessiveElimination", "TopTwoThompson"],
    },
)
