"""Searching for a better version of one prompt, and judging the result on samples that the search never saw."""

from __future__ import annotations

from llmkit.lazy import lazy_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from llmkit.experiments.optimise.outcome import Outcome as Outcome
    from llmkit.experiments.optimise.outcome import optimise as optimise
    from llmkit.experiments.optimise.strategy import Optimise as Optimise

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "outcome": ["Outcome", "optimise"],
        "strategy": ["Optimise"],
    },
)
