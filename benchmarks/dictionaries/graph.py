"""Translations of words that no dictionary translates into English, through other languages.

Input: edges of dictionaries. Output: English words with weights for each German and Spanish word.

WikDict's packages do not have German or Spanish with English. Words of all languages make a graph; a word has the
translations of its entries (fin-eng gives some to Finnish words), and those that its neighbours have, which vote: one
on which several languages agree is seldom another sense of the word between (Tanaka and Umemura 1994; Mausam et al.
2009). Votes are spread three times.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np
import scipy.sparse as sp
from wikdict import Edge

CODES = {"deu": "de", "spa": "es"}
STEPS = 3
KEPT = 12
"""Translations that a word hands on."""
AGREEMENT = 1.5
"""Power of a vote: two halves that agree weigh more than a whole."""
HEARSAY = 0.5
"""What neighbours say, against a word's own entries, while votes spread."""
OWN = 3.0
"""What an entry weighs in the end, against the votes."""
SENSES = 8
EMPTY = set("to a an the sb sth somebody something someone one's oneself of be".split())


def translations(edges: Sequence[Edge], spell: Callable[[str], str]) -> dict[str, dict[str, dict[str, float]]]:
    """By language (`de`, `es`) and word in the spelling given, at most eight; classes of a word are added up."""
    rows, columns, direct, between = matrices(edges, spell)
    own = shares(direct)
    believed = own
    for _ in range(STEPS):
        heard = votes(between, believed)
        heard = heard.multiply(heard > 0).tocsr()  # the order that this leaves decides ties in `best`
        believed = shares(best(shares(own + HEARSAY * shares(heard))))
    final = (votes(between, believed) + OWN * own).tocsr()
    english = list(columns)
    found: dict[str, dict[str, dict[str, float]]] = {name: {} for name in CODES.values()}
    for (code, word, _), row in rows.items():
        span = slice(final.indptr[row], final.indptr[row + 1])
        if code in CODES and " " not in word and span.start < span.stop:
            senses = found[CODES[code]].setdefault(word, {})
            for column, weight in zip(final.indices[span], final.data[span], strict=True):
                senses[english[column]] = senses.get(english[column], 0.0) + float(weight)
    return {name: {word: heaviest(senses) for word, senses in words.items()} for name, words in found.items()}


def heaviest(senses: dict[str, float]) -> dict[str, float]:
    return {text: round(weight, 3) for text, weight in sorted(senses.items(), key=lambda one: -one[1])[:SENSES]}


def matrices(edges: Sequence[Edge], spell: Callable[[str], str]) -> tuple[dict, dict, sp.csr_matrix, sp.csr_matrix]:
    """Rows (language, word, class), English columns; rows × columns of entries, rows × rows of translations."""
    rows: dict[tuple[str, str, str], int] = {}
    columns: dict[str, int] = {}
    direct, between = [], []
    for word, other, kind in edges:
        english, foreign = [], []
        for code, text in (word, other):
            if code == "eng":
                english.append(without_empty(spell(text)))
            else:
                text = re.sub("^(der|die|das|sich) ", "", text) if code == "deu" else text
                foreign.append((code, spell(text).strip() if code in CODES else text.lower(), kind))
        if not all(english):
            continue
        ids = [rows.setdefault(node, len(rows)) for node in foreign]
        if english:
            direct.append((ids[0], columns.setdefault(english[0], len(columns))))
        else:
            between += [tuple(ids), tuple(ids[::-1])]
    return rows, columns, links(direct, (len(rows), len(columns))), links(between, (len(rows), len(rows)))


def without_empty(text: str) -> str:
    """The translation without articles and placeholders: `to play` is `play`."""
    words = re.sub(r"[^\w' -]", " ", text).split()
    return " ".join([word for word in words if word not in EMPTY] or words)


def links(cells: list[tuple[int, int]], shape: tuple[int, int]) -> sp.csr_matrix:
    """Ones at the cells."""
    made = sp.csr_matrix((np.ones(len(cells), np.float32), tuple(np.array(cells).T)), shape)
    made.data[:] = 1
    return made


def votes(between: sp.csr_matrix, believed: sp.csr_matrix) -> sp.csr_matrix:
    """What a row's neighbours believe, summed."""
    found = (between @ believed).tocsr()
    found.data **= AGREEMENT
    return found


def shares(weights: sp.csr_matrix) -> sp.csr_matrix:
    """Rows that sum to one, or are empty."""
    total = np.asarray(weights.sum(1)).ravel()
    total[total == 0] = 1
    return (sp.diags((1 / total).astype(np.float32)) @ weights).tocsr()


def best(weights: sp.csr_matrix) -> sp.csr_matrix:
    """The heaviest of each row."""
    keep = np.ones(weights.nnz, bool)
    for row in np.flatnonzero(np.diff(weights.indptr) > KEPT):
        span = slice(weights.indptr[row], weights.indptr[row + 1])
        keep[span] = False
        keep[span.start + np.argpartition(-weights.data[span], KEPT)[:KEPT]] = True
    weights.data[~keep] = 0
    weights.eliminate_zeros()
    return weights
