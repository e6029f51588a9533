"""Refinement loop, critiques and majority votes. This package calls no model; the steps of a pipeline do."""

from __future__ import annotations

from llmkit.lazy import lazy_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from llmkit.refine.critique import Critique as Critique
    from llmkit.refine.loop import Limits as Limits
    from llmkit.refine.loop import Round as Round
    from llmkit.refine.vote import Vote as Vote

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "critique": ["Critique"],
        "loop": ["Limits", "Round"],
        "vote": ["Vote"],
    },
)
