"""Whether passages support a sentence, judged by wording alone: one engine for the step `ground` and for the metrics.

:func:`find_support` judges one sentence, :func:`judge_sentences` judges every sentence of an answer.
"""

from llmkit.grounding.passage import Passage, evidence_from
from llmkit.grounding.support import THRESHOLD, Support, find_support, judge_sentences

__all__ = ["THRESHOLD", "Passage", "Support", "evidence_from", "find_support", "judge_sentences"]
