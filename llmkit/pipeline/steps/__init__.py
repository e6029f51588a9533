"""The steps of a pipeline."""

from __future__ import annotations

from llmkit.lazy import lazy_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from llmkit.pipeline.steps.answering.abstain import Abstain as Abstain
    from llmkit.pipeline.steps.answering.answer import AnswerStep as AnswerStep
    from llmkit.pipeline.steps.answering.classify import Classify as Classify
    from llmkit.pipeline.steps.answering.extract import Extract as Extract
    from llmkit.pipeline.steps.answering.generate import Generate as Generate
    from llmkit.pipeline.steps.answering.ground import Ground as Ground
    from llmkit.pipeline.steps.answering.structured import Structured as Structured
    from llmkit.pipeline.steps.loops.refine import Refine as Refine
    from llmkit.pipeline.steps.loops.reflexion import Reflexion as Reflexion
    from llmkit.pipeline.steps.loops.sampling import BestOfN as BestOfN
    from llmkit.pipeline.steps.loops.sampling import SelfConsistency as SelfConsistency
    from llmkit.pipeline.steps.retrieval.condense import Condense as Condense
    from llmkit.pipeline.steps.retrieval.expand import Expand as Expand
    from llmkit.pipeline.steps.retrieval.query_rewriters import Decompose as Decompose
    from llmkit.pipeline.steps.retrieval.query_rewriters import HyDE as HyDE
    from llmkit.pipeline.steps.retrieval.query_rewriters import MultiQuery as MultiQuery
    from llmkit.pipeline.steps.retrieval.query_rewriters import StepBack as StepBack
    from llmkit.pipeline.steps.retrieval.rerank import Rerank as Rerank
    from llmkit.pipeline.steps.retrieval.retrieve import Retrieve as Retrieve

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "answering.abstain": ["Abstain"],
        "answering.answer": ["AnswerStep"],
        "answering.classify": ["Classify"],
        "answering.extract": ["Extract"],
        "answering.generate": ["Generate"],
        "answering.ground": ["Ground"],
        "answering.structured": ["Structured"],
        "loops.refine": ["Refine"],
        "loops.reflexion": ["Reflexion"],
        "loops.sampling": ["BestOfN", "SelfConsistency"],
        "retrieval.condense": ["Condense"],
        "retrieval.expand": ["Expand"],
        "retrieval.query_rewriters": ["Decompose", "HyDE", "MultiQuery", "StepBack"],
        "retrieval.rerank": ["Rerank"],
        "retrieval.retrieve": ["Retrieve"],
    },
)
