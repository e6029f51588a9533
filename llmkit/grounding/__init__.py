"""Whether a text is supported by passages."""

from __future__ import annotations

from llmkit.lazy import lazy_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from llmkit.grounding.claims import Claim as Claim
    from llmkit.grounding.claims import Evidence as Evidence
    from llmkit.grounding.groundedness import Groundedness as Groundedness
    from llmkit.grounding.support import Support as Support

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "claims": ["Claim", "Evidence"],
        "groundedness": ["Groundedness"],
        "support": ["Support"],
    },
)
