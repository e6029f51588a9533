"""Metrics: each scores one sample, and says so where it cannot."""

from __future__ import annotations

from llmkit.lazy import lazy_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from llmkit.evaluation.metrics.abstention import Abstention as Abstention
    from llmkit.evaluation.metrics.abstention import is_right as is_right
    from llmkit.evaluation.metrics.agent import AgentWork as AgentWork
    from llmkit.evaluation.metrics.agent import Injection as Injection
    from llmkit.evaluation.metrics.answer import AnswerMatch as AnswerMatch
    from llmkit.evaluation.metrics.citations import Citations as Citations
    from llmkit.evaluation.metrics.exact import Label as Label
    from llmkit.evaluation.metrics.exact import Number as Number
    from llmkit.evaluation.metrics.groundedness import Groundedness as Groundedness
    from llmkit.evaluation.metrics.judge import Judge as Judge
    from llmkit.evaluation.metrics.retrieval import Retrieval as Retrieval
    from llmkit.evaluation.metrics.retrieval import average_precision as average_precision
    from llmkit.evaluation.metrics.retrieval import ndcg as ndcg
    from llmkit.evaluation.metrics.retrieval import recall as recall
    from llmkit.evaluation.metrics.retrieval import reciprocal_rank as reciprocal_rank
    from llmkit.evaluation.metrics.rouge import Rouge as Rouge
    from llmkit.evaluation.metrics.tools import ToolCall as ToolCall
    from llmkit.evaluation.metrics.unit_tests import UnitTests as UnitTests
    from llmkit.evaluation.metrics.unit_tests import pass_at as pass_at

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "abstention": ["Abstention", "is_right"],
        "agent": ["AgentWork", "Injection"],
        "answer": ["AnswerMatch"],
        "citations": ["Citations"],
        "exact": ["Label", "Number"],
        "groundedness": ["Groundedness"],
        "judge": ["Judge"],
        "retrieval": ["Retrieval", "average_precision", "ndcg", "recall", "reciprocal_rank"],
        "rouge": ["Rouge"],
        "tools": ["ToolCall"],
        "unit_tests": ["UnitTests", "pass_at"],
    },
)
