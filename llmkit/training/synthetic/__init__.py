"""Training data made by rules or by a model."""

from __future__ import annotations

from llmkit.lazy import lazy_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from llmkit.training.synthetic.llm_questions import by_model as by_model
    from llmkit.training.synthetic.round_trip_filter import sift as sift
    from llmkit.training.synthetic.rule_questions import by_rules as by_rules

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "llm_questions": ["by_model"],
        "round_trip_filter": ["sift"],
        "rule_questions": ["by_rules"],
    },
)
