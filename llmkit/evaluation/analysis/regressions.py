"""Where two runs differ: samples that went from wrong to right or back, with what was different on the way.

The cause of a flip is told from the traces alone, the first that applies:

    failed             one of them did not finish
    evidence           the document that holds the answer was shown by one only
    passages           other passages were shown
    order              the same passages, in another order
    prompt             the same passages, other words around them
    reply              the same prompt, another reply: another model, or one that does not say the same twice
    checks             the same reply, and a later step made something else of it
    reading            the same passages, read otherwise by a step that asks no model

It says what was different, not that it was the reason: `llmkit blame` runs the repaired pipeline for that.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from llmkit.errors import DataError, unknown
from llmkit.evaluation.report.samples import blamed
from llmkit.evaluation.runs.run_folder import RunFolder

CAUSES = ("failed", "evidence", "passages", "order", "prompt", "reply", "checks", "reading")
_FIRST = 8  # words among which a question's kind is looked for
_ENGLISH = re.compile(
    r"how (?:many|much)|how (?:old|long|far|tall|often|big)|who|whom|whose|when|where|which|why|how|what", re.IGNORECASE
)
_KINDS = {"whom": "who", "whose": "who"}
_YES_NO = re.compile(
    r"(?:is|are|was|were|do|does|did|can|could|has|have|had|will|would|should|may|must)\b", re.IGNORECASE
)
_JAPANESE = (
    ("いくつ|何人|何個|何年間|いくら|どれくらい|どのくらい", "how many"), ("誰|だれ|どなた", "who"),
    ("いつ|何年|何月|何日|何時", "when"), ("どこ|何処", "where"), ("なぜ|どうして|何故", "why"),
    ("どの|どちら|どれ", "which"), ("どう|どのように", "how"), ("何|なに|なん", "what"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Side:
    """One run's way to its answer."""

    score: float | None
    """None: it failed, or was not scored."""
    said: str
    abstained: bool
    error: str
    passages: tuple[tuple[str, str, bool], ...]
    """Of each passage that was shown: its id, its text, whether its document holds the answer."""
    messages: tuple[tuple[str, str], ...]
    """The prompt, by role, of the last step that had one."""
    raw: str
    stage: str
    """What `llmkit blame` found, where it was run."""


@dataclass(frozen=True, slots=True)
class Flip:
    """One sample."""

    id: str
    question: str
    answers: tuple[str, ...]
    outcome: Literal["won", "lost"]
    """won: the second run is right where the first was wrong."""
    cause: str
    kind: str
    """Of question: who, when, how many, yes or no, other."""
    document: str
    """The first that holds the answer; empty where nobody judged."""
    fields: Mapping[str, Any]
    a: Side
    b: Side


@dataclass(frozen=True, slots=True)
class Flips:
    """All samples on which two runs came out differently."""

    a: str
    b: str
    metric: str
    samples: int
    """Samples both runs have, scored or failed."""
    found: tuple[Flip, ...]
    """Lost ones first."""

    def count(self, outcome: str) -> int:
        """How many were won, or lost."""
        return sum(one.outcome == outcome for one in self.found)

    def by(self, what: str) -> list[tuple[str, int, int]]:
        """(group, won, lost), most flips first; `what` is cause, kind, document, stage, or a column of the data set.

        Raises:
            DataError: no sample has such a column.
        """
        won: Counter[str] = Counter()
        lost: Counter[str] = Counter()
        if what not in ("cause", "kind", "document", "stage"):
            columns = sorted({name for one in self.found for name in one.fields})
            if self.found and what not in columns:
                raise DataError(unknown("grouping", what, ["cause", "kind", "document", "stage", *columns]))
        for one in self.found:
            (won if one.outcome == "won" else lost)[_group(one, what)] += 1
        return [(name, won[name], lost[name]) for name, _ in (won + lost).most_common()]


def flips(a: RunFolder, b: RunFolder, metric: str = "", limit: float = 0.5) -> Flips:
    """The samples on which one run is right and the other is wrong.

    Args:
        a: the run that is compared with.
        b: the other one, asked the same questions.
        metric: figure that tells right from wrong; empty: the primary one of `a`.
        limit: a sample is right from here on; failed samples are wrong, unscored ones are left out.

    Raises:
        DataError: no such figure in both.
    """
    metric = metric or a.run["primary"]
    shared = [name for name in a.run["metrics"] if name in b.run["metrics"]]
    if metric not in shared:
        raise DataError(unknown("figure", metric, shared))
    lower = a.run["metrics"][metric]["better"] == "lower"
    before, after = (_right(run, metric, limit, lower=lower) for run in (a, b))
    both = [key for key in before if key in after]
    changed = {key for key in both if before[key][0] != after[key][0]}
    first, second = _sides(a, changed, before), _sides(b, changed, after)
    found = [
        _flip(first[key], second[key], "won" if after[key][0] else "lost")
        for key in both if key in changed and key in first and key in second
    ]  # fmt: skip
    return Flips(a.name, b.name, metric, len(both), tuple(sorted(found, key=lambda one: one.outcome)))


def kind_of(question: str) -> str:
    """What kind of question it is, by its first question word."""
    head = " ".join(question.split()[:_FIRST])
    if _YES_NO.match(head):
        return "yes or no"
    english = re.search(rf"\b(?:{_ENGLISH.pattern})\b", head, re.IGNORECASE)
    if english:
        word = english.group().lower()
        return _KINDS.get(word, "how many" if word.startswith("how ") else word)
    return next((kind for words, kind in _JAPANESE if re.search(words, question)), "other")


def _group(one: Flip, what: str) -> str:
    if what == "stage":
        return (one.b if one.outcome == "lost" else one.a).stage or "not blamed"
    if what in ("cause", "kind"):
        return str(getattr(one, what))
    return (one.document if what == "document" else str(one.fields.get(what, ""))) or "none"


def _right(
    run: RunFolder, metric: str, limit: float, *, lower: bool
) -> dict[tuple[str, int], tuple[bool, float | None]]:
    """Whether each sample is right, and its score; those that are not scored are left out."""
    found: dict[tuple[str, int], tuple[bool, float | None]] = {}
    for row in run.scores():
        key, score = (row["id"], row["repeat"]), row["scores"].get(metric)
        if row["status"] != "ok":
            found[key] = False, None
        elif score is not None:
            found[key] = (score < limit if lower else score >= limit), score
    return found


def _sides(
    run: RunFolder, wanted: set[tuple[str, int]], scores: Mapping[tuple[str, int], tuple[bool, float | None]]
) -> dict[tuple[str, int], tuple[dict[str, Any], Side]]:
    """The sample and the side of every wanted trace."""
    why = (blamed(run) or {}).get("by_sample", {})
    passages = run.passages() if wanted else {}
    found = {}
    for trace in run.traces():
        key = trace["id"], trace["repeat"]
        if key not in wanted:
            continue
        state, sample = trace["state"] or {}, trace["sample"]
        answer, details = state.get("answer") or {}, [record["detail"] for record in state.get("records", [])]
        shown = [passages[hit["passage"]] for hit in state.get("hits", [])]
        side = Side(
            score=scores[key][1], said=answer.get("text", ""), abstained=answer.get("abstained", False),
            error=trace["error"] or "",
            passages=tuple((chunk.id, chunk.text, chunk.document in sample["relevant"]) for chunk in shown),
            messages=next((tuple((r, t) for r, t in d["messages"]) for d in reversed(details) if "messages" in d), ()),
            raw=next((str(detail["raw"]) for detail in reversed(details) if "raw" in detail), ""),
            stage=why.get(trace["id"], {}).get("stage", ""),
        )  # fmt: skip
        found[key] = sample, side
    return found


def _flip(
    first: tuple[dict[str, Any], Side], second: tuple[dict[str, Any], Side], outcome: Literal["won", "lost"]
) -> Flip:
    sample, a = first
    b = second[1]
    relevant: Sequence[str] = list(sample["relevant"])
    return Flip(
        sample["id"], sample["question"], tuple(sample["answers"]), outcome, _cause(a, b), kind_of(sample["question"]),
        relevant[0] if relevant else "", sample["fields"], a, b,
    )  # fmt: skip


def _cause(a: Side, b: Side) -> str:
    if a.error or b.error:
        return "failed"
    held = [any(right for _, _, right in side.passages) for side in (a, b)]
    if held[0] != held[1]:
        return "evidence"
    shown = [[(name, text) for name, text, _ in side.passages] for side in (a, b)]
    if sorted(shown[0]) != sorted(shown[1]):
        return "passages"
    if shown[0] != shown[1]:
        return "order"
    if a.messages != b.messages:
        return "prompt"
    if a.raw != b.raw:
        return "reply"
    return "checks" if a.raw else "reading"
