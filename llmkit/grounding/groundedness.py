"""How well evidence supports a response: a number in [0, 1], offline, without any model.

Each sentence of the response is laid beside the sentence of the evidence, or the two neighbours, that has most of its
content words. It scores the longest common subsequence of words, as a share of its own (ROUGE-L precision, Lin 2004),
times the mean of four checks: the same numbers, known names, the same polarity, no word swapped for its opposite. The
response scores the mean of its sentences.

It compares wording. Where unsupported responses are invented or speak past the evidence it ranks well; where a
faithful text was changed in one word it is near chance, and a paraphrase in other words scores low, true or not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmkit.errors import DataError
from llmkit.grounding.claims import Evidence, claims, share
from llmkit.protocols import Encoder
from llmkit.text.sentences import sentences
from llmkit.text.words import words

Item = tuple[str, str, str]
"""Evidence, query, response. Several evidence texts are joined by a blank line."""

FEATURES = (
    "found",  # share of the response's words that the evidence has
    "content",  # share of its content words, by stem
    "few_new",  # 1 / (1 + content words the evidence lacks)
    "not_echoed",  # 1 - share of content words that only the query has
    "brevity",  # 1 / (1 + ln words)
    "order",
    "order_weakest",
    "numbers",
    "names",
    "polarity",
    "unopposed",
    "third_person",
    "cosine",  # mean over response sentences of the best cosine with an evidence sentence
    "cosine_weakest",
)
"""The columns of :func:`features`; where nothing else is said, the mean over claims of that field of ``Claim``."""


# Measured by benchmarks/groundedness.py on BEGIN dev (Dziri et al. 2022; wow and cmu CC BY 4.0, topicalchat
# CDLA-Sharing-1.0) and SummEdits (Laban et al. 2023; Apache-2.0), ROC-AUC with 95 % bootstrap intervals over contexts:
#   BEGIN 0.940 [0.926, 0.953]; SummEdits scitldr 0.517 [0.390, 0.635] and qmsumm 0.479 [0.396, 0.575], chance.
# Nothing is fitted, but the form was chosen with these sets in view.
@dataclass(frozen=True)
class Groundedness:
    """Scores responses against their evidence; the same item always scores the same, whatever stands beside it.

    There are no weights and no encoder. A logistic regression on all of :data:`FEATURES`, cosines of MiniLM among them,
    ranks unseen replies of BEGIN a little better where it was fitted on other BEGIN replies, and is not shipped: fitted
    on two of three data sets it ranks the third far worse (BEGIN) or no better than can be told (both SummEdits).
    """

    def score_many(self, items: Sequence[Item]) -> NDArray[np.float64]:
        """Shape (n,), each in [0, 1], in the order given; 0 where the evidence has no words.

        Args:
            items: (evidence, query, response) each. The query is not read: it supports nothing.

        Raises:
            DataError: a response without words; nothing is claimed, so nothing can be scored.
        """
        read = _Read(items)
        return np.array(
            [np.mean([claim.score for claim in read.claims[row]]) for row in range(len(items))], dtype=float
        )


def features(evidence: str, response: str, query: str, encoder: Encoder) -> NDArray[np.float64]:
    """One row of :func:`features_many`, shape (len(FEATURES),)."""
    row: NDArray[np.float64] = features_many([(evidence, query, response)], encoder)[0]
    return row


def features_many(items: Sequence[Item], encoder: Encoder) -> NDArray[np.float64]:
    """What can be told of a response beside its evidence: shape (n, len(FEATURES)), in [0, 1], more is better grounded.

    Each distinct sentence is encoded once; one that is longer than the encoder reads is parted, never cut off.

    Args:
        items: (evidence, query, response) each.
        encoder: for the cosines.

    Raises:
        DataError: a response without words.
    """
    read = _Read(items)
    spans = {text: pieces(text, encoder) for evidence, _, response in items for text in (evidence, response)}
    rows = {piece: row for row, piece in enumerate(dict.fromkeys(p for found in spans.values() for p in found))}
    vectors = encoder.encode_passages(list(rows))
    out = np.empty((len(items), len(FEATURES)))
    for i, (evidence, query, response) in enumerate(items):
        said, sources = ([rows[piece] for piece in spans[text]] for text in (response, evidence))
        best = np.zeros(len(said))
        if sources:
            best = np.clip((vectors[said] @ vectors[sources].T).max(axis=1), 0.0, 1.0)
        out[i] = [*_wording(read, i, query, response), best.mean(), best.min()]
    return out


def pieces(text: str, encoder: Encoder) -> list[str]:
    """The sentences of `text`; one that the encoder cannot read whole is parted at its tokens, none is cut off."""
    return [piece for start, end in sentences(text) for piece in _parted(text[start:end], encoder)]


def _parted(text: str, encoder: Encoder) -> list[str]:
    # halved until it fits: a part may tokenize into more than its share of the whole
    starts = encoder.token_starts(text)
    middle = next((int(start) for start in starts[len(starts) // 2 :] if start > 0), 0)
    if len(starts) <= encoder.max_tokens - encoder.special_tokens or not middle:
        return [text] if text.strip() else []
    return [*_parted(text[:middle], encoder), *_parted(text[middle:], encoder)]


class _Read:
    """The evidence and the claims of items; each distinct evidence text is read once."""

    def __init__(self, items: Sequence[Item]) -> None:
        texts = {evidence: Evidence.of(evidence) for evidence, _, _ in items}
        self.evidence = [texts[evidence] for evidence, _, _ in items]
        self.claims = [claims(response, texts[evidence]) for evidence, _, response in items]
        for row, found in enumerate(self.claims):
            if not found:
                raise DataError(
                    f"item {row}: the response {items[row][2][:60]!r} has no words, so there is nothing to score; "
                    "leave it out, or count it as an abstention"
                )


def _wording(read: _Read, row: int, query: str, response: str) -> list[float]:
    whole, found = read.evidence[row].whole, read.claims[row]
    said = words(response)
    content = [word for word in said if word.content]
    new = [word for word in content if word.stem not in whole.stems]
    asked = {word.stem for word in words(query)}
    return [
        share(sum(word.text in whole.texts for word in said), len(said)),
        1.0 - len(new) / max(len(content), 1),
        1.0 / (1.0 + len(new)),
        1.0 - sum(word.stem in asked for word in new) / max(len(content), 1),
        float(1.0 / (1.0 + np.log(len(said)))),
        float(np.mean([claim.order for claim in found])),
        min(claim.order for claim in found),
        *(float(np.mean([getattr(claim, name) for claim in found])) for name in FEATURES[7:12]),
    ]
