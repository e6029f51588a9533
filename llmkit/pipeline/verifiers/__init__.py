"""Rules that judge a draft, a file each: what a loop of refinement listens to beside a critic."""

from __future__ import annotations

from llmkit.lazy import lazy_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from llmkit.pipeline.verifiers.acronym import AcronymForm as AcronymForm
    from llmkit.pipeline.verifiers.calculator import Calculator as Calculator
    from llmkit.pipeline.verifiers.citations import CitationsSupported as CitationsSupported
    from llmkit.pipeline.verifiers.concepts import ConceptsUsed as ConceptsUsed
    from llmkit.pipeline.verifiers.instructions import InstructionsFollowed as InstructionsFollowed
    from llmkit.pipeline.verifiers.json_schema import JsonSchema as JsonSchema
    from llmkit.pipeline.verifiers.sentiment import SentimentReversed as SentimentReversed
    from llmkit.pipeline.verifiers.unit_tests import UnitTestsPassed as UnitTestsPassed

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "acronym": ["AcronymForm"],
        "calculator": ["Calculator"],
        "citations": ["CitationsSupported"],
        "concepts": ["ConceptsUsed"],
        "instructions": ["InstructionsFollowed"],
        "json_schema": ["JsonSchema"],
        "sentiment": ["SentimentReversed"],
        "unit_tests": ["UnitTestsPassed"],
    },
)
