"""Tasks from papers: acronyms, sentiment, concepts, IFEval. Each module holds the rules, a metric and a verifier.

Nothing in the toolkit imports this package: the registry names its parts by string.
"""

from __future__ import annotations

from llmkit.lazy import lazy_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from llmkit.tasks.acronyms import AcronymForm as AcronymForm
    from llmkit.tasks.acronyms import AcronymScore as AcronymScore
    from llmkit.tasks.concepts import Concepts as Concepts
    from llmkit.tasks.concepts import ConceptsUsed as ConceptsUsed
    from llmkit.tasks.ifeval.following import Instructions as Instructions
    from llmkit.tasks.ifeval.following import InstructionsFollowed as InstructionsFollowed
    from llmkit.tasks.sentiment import SentimentReversed as SentimentReversed
    from llmkit.tasks.sentiment import SentimentScore as SentimentScore

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "acronyms": ["AcronymForm", "AcronymScore"],
        "concepts": ["Concepts", "ConceptsUsed"],
        "ifeval.following": ["Instructions", "InstructionsFollowed"],
        "sentiment": ["SentimentReversed", "SentimentScore"],
    },
)
