"""Whether passages support a sentence, judged by wording alone: one engine for the step `ground` and for the metrics.

:func:`find_support` judges one sentence, :func:`judge_sentences` judges every sentence of an answer.
"""

from __future__ import annotations

from llmkit.lazy import lazy_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from llmkit.grounding.support import Support as Support

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "support": ["Support"],
    },
)
