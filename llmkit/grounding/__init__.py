"""Whether passages support a sentence, judged by wording alone: one engine for the step `ground` and for the metrics.

:func:`find_support` judges one sentence, :func:`judge_sentences` judges every sentence of an answer.
"""

from __future__ import annotations

from llmkit.lazy import lazy_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from llmkit.grounding.passage import Passage as Passage
    from llmkit.grounding.passage import evidence_from as evidence_from
    from llmkit.grounding.support import THRESHOLD as THRESHOLD
    from llmkit.grounding.support import Support as Support
    from llmkit.grounding.support import find_support as find_support
    from llmkit.grounding.support import judge_sentences as judge_sentences

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "passage": ["Passage", "evidence_from"],
        "support": ["THRESHOLD", "Support", "find_support", "judge_sentences"],
    },
)
