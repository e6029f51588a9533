"""Verifiers: rules that judge a draft in a refinement loop, besides a critic."""

from __future__ import annotations

from llmkit.lazy import lazy_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from llmkit.pipeline.verifiers.calculator import Calculator as Calculator
    from llmkit.pipeline.verifiers.citations import CitationsSupported as CitationsSupported
    from llmkit.pipeline.verifiers.json_schema import JsonSchema as JsonSchema
    from llmkit.pipeline.verifiers.unit_tests import UnitTestsPassed as UnitTestsPassed

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "calculator": ["Calculator"],
        "citations": ["CitationsSupported"],
        "json_schema": ["JsonSchema"],
        "unit_tests": ["UnitTestsPassed"],
    },
)
