"""Drafts made better: the loop, what it listens to, and how the best of many is chosen. It knows no model."""

from __future__ import annotations

from llmkit.lazy import lazy_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from llmkit.refine.critique import Critique as Critique
    from llmkit.refine.loop import Limits as Limits
    from llmkit.refine.loop import Loop as Loop
    from llmkit.refine.loop import Round as Round
    from llmkit.refine.vote import Vote as Vote
    from llmkit.refine.vote import majority as majority

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "critique": ["Critique"],
        "loop": ["Limits", "Loop", "Round"],
        "vote": ["Vote", "majority"],
    },
)
