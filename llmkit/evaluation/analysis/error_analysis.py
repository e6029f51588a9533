"""Why an answer was wrong: the first stage whose repair makes it right.

:mod:`llmkit.evaluation.analysis.evidence_path` looks up where the evidence got lost; whether that is the cause is found
out by running the rest of the pipeline again with the evidence put back. What stays wrong with the evidence in hand is
the answering step's (``generated``), or, where its own words were right, that of the checks after it (``cited``).
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from llmkit.errors import DataError, LlmkitError, unknown
from llmkit.evaluation.analysis.evidence_path import STAGES, Evidence, trace_evidence
from llmkit.evaluation.metrics.abstention import is_right
from llmkit.evaluation.runs.entry_step import answering_step
from llmkit.evaluation.runs.plan import caching_loader
from llmkit.evaluation.runs.reopen import RecordedRun
from llmkit.evaluation.runs.scoring import score_row
from llmkit.evaluation.runs.trace import read_hits, read_sample, read_state
from llmkit.evaluation.tasks.corpus import document_passages
from llmkit.knowledge.knowledge_base import KnowledgeBase
from llmkit.models.response_cache import CALL_LOG, CallLog, ResponseCache
from llmkit.part import Part
from llmkit.pipeline import Pipeline
from llmkit.types import Document, Hit, Sample, State

ALL_STAGES = (*STAGES, "generated", "cited", "failed")
_DEEP = 100
_REFUSALS = ("right", "right_if_answered", "refused")


@dataclass(frozen=True, slots=True)
class BlamedSample:
    """One failed sample."""

    id: str
    stage: str
    """``ingested``, ``chunked``, ``retrieved@100``, ``retrieved@k``, ``kept``, ``generated``, ``cited``, ``failed``."""
    why: str


@dataclass(frozen=True, slots=True)
class Blame:
    """All failed samples of a run."""

    metric: str
    samples: int
    """Samples of the run."""
    failed: tuple[BlamedSample, ...]
    reruns: int
    """How often the answering part of the pipeline was run again."""

    @property
    def stages(self) -> dict[str, int]:
        """Failures by stage, in the order of the pipeline."""
        counts = Counter(one.stage for one in self.failed)
        return {stage: counts[stage] for stage in ALL_STAGES}

    def row(self) -> dict[str, Any]:
        """JSON values, as `blame.json` holds them."""
        return {
            "metric": self.metric,
            "samples": self.samples,
            "failed": len(self.failed),
            "stages": self.stages,
            "reruns": self.reruns,
            "by_sample": {one.id: asdict(one) for one in self.failed},
        }


def blame(
    run: RecordedRun, *, metric: str = "", below: float = 0.5, on_sample: Callable[[int], None] = lambda _: None
) -> Blame:
    """Find the stage to blame for every sample whose figure is below a limit.

    Args:
        run: a finished run.
        metric: figure that tells right from wrong; empty: the task's primary one.
        below: samples under it failed.
        on_sample: told how many failed samples are done.

    Raises:
        DataError: no such figure, or the task has no knowledge base.
    """
    metric = metric or run.task.decides
    if metric not in run.task.figures:
        raise DataError(unknown("figure", metric, run.task.figures))
    if run.folder.run["knowledge"] is None:
        raise DataError(f"task {run.task.name} looks nothing up: there is no stage to blame but the model")
    total = sum(1 for _ in run.folder.scores())
    if not total:
        raise DataError(f"{run.folder.path} has no scores: run the same `llmkit eval` again")
    wrong = {
        (row["id"], row["repeat"])
        for row in run.folder.scores()
        if row["status"] != "ok" or row["scores"].get(metric, below) < below
    }
    traces = [trace for trace in run.folder.traces() if (trace["id"], trace["repeat"]) in wrong]
    with tempfile.TemporaryDirectory(prefix="llmkit-blame-") as scratch:
        court = _ErrorAnalysis(run, metric, below, Path(scratch))
        court.gather(traces)
        failed = []
        for n, trace in enumerate(traces, 1):
            failed.append(court.judge(trace))
            on_sample(n)
        court.close()
    return Blame(metric, total, tuple(failed), court.reruns)


class _ErrorAnalysis:
    def __init__(self, run: RecordedRun, metric: str, below: float, scratch: Path) -> None:
        self.run, self.metric, self.below, self.scratch = run, metric, below, scratch
        runs = run.folder.path.parent.parent
        cache = ResponseCache(runs / ".cache" / "responses.sqlite")
        self.pipeline = run.pipeline.with_models(caching_loader(cache))
        self.kb = self.pipeline.open_knowledge()
        self.first = answering_step(self.pipeline)
        self.passages = run.folder.passages()
        self.originals: dict[str, Document] = {}
        self.repaired: KnowledgeBase | None = None
        self.reruns = 0
        self.trouble = ""

    def gather(self, traces: Sequence[Mapping[str, Any]]) -> None:
        """The documents of the data set that hold the answers, read once."""
        wanted = {name for trace in traces for name in trace["sample"]["relevant"]}
        for item in self.run.task.dataset.documents():
            if isinstance(item, Document) and item.id in wanted:
                self.originals[item.id] = item

    def close(self) -> None:
        """Let go of the scratch knowledge base."""
        if self.repaired is not None:
            self.repaired.close()

    def judge(self, trace: Mapping[str, Any]) -> BlamedSample:
        """The stage to blame for one sample."""
        name = trace["id"]
        if trace["status"] != "ok":
            return BlamedSample(name, "failed", trace["error"])
        sample, state = read_sample(trace["sample"]), read_state(trace["state"], self.passages)
        reply = _own_words(state)
        if reply and sample.answers and state.answer is not None and is_right(reply, sample.answers):
            return BlamedSample(
                name, "cited", f"the model was right ({reply[:80]!r}); a later step changed or refused it"
            )
        if not sample.answers and self.metric in _REFUSALS:
            return BlamedSample(name, "generated", "answered, though the documents hold no answer")
        if not sample.relevant:
            return BlamedSample(
                name, "generated", "nobody judged which documents hold the answer: only the model is left"
            )
        entering = read_hits(trace["entering"], self.passages)
        kept = state.hits if self.first < len(self.pipeline.steps) else entering
        found = {"retrieved@100": self.search_deep(sample), "retrieved@k": state.retrieved, "kept": kept}
        evidence = trace_evidence(sample, self.originals, self.kb, found)  # type: ignore[arg-type]
        broken = [one for one in evidence if one.lost is not None]
        if self.first == len(self.pipeline.steps):  # nothing answers: the chain itself is the result
            return self.earliest(name, broken) or BlamedSample(name, "generated", "every relevant document was found")
        if broken and self.is_right(sample, trace, *self.is_repaired(sample, evidence, entering)):
            blamed = self.earliest(name, broken)
            assert blamed is not None
            return blamed
        lost = f" (besides, {broken[0].why}{self.trouble})" if broken else ""
        return BlamedSample(name, "generated", f"wrong with the evidence in hand{lost}")

    def earliest(self, name: str, broken: Sequence[Evidence]) -> BlamedSample | None:
        """The break that comes first in the pipeline."""
        ordered = sorted(broken, key=lambda one: STAGES.index(one.lost or "kept"))
        return BlamedSample(name, str(ordered[0].lost), ordered[0].why) if ordered else None

    def search_deep(self, sample: Sample) -> Sequence[Hit]:
        """The first hundred that the pipeline's own retrieval finds."""
        steps = [
            step.replace(k=max(_DEEP, step.k)) if isinstance(step, Part) and step.type == "retrieve" else step  # type: ignore[attr-defined]
            for step in self.pipeline.steps[: self.first]
            if step.type == "retrieve"
        ]
        if not steps:
            return ()
        deep = Pipeline(name="deep", steps=steps).with_knowledge(self.kb)
        return deep.resume(State(sample.question, sample.history), 0).retrieved

    def is_repaired(
        self, sample: Sample, evidence: Sequence[Evidence], entering: Sequence[Hit]
    ) -> tuple[Pipeline, list[Hit]]:
        """The pipeline and the passages it would have, were the evidence where it belongs: in front."""
        gold = [Hit(chunk, 1.0) for one in evidence for chunk in one.passages[:1]]
        if all(one.passages for one in evidence):
            rows = {hit.chunk.row for hit in gold}
            return self.pipeline, [*gold, *(hit for hit in entering if hit.chunk.row not in rows)]
        kb = self.reencoded_knowledge([one for one in evidence if not one.passages], entering)
        names = [f"gold/{one.document}" for one in evidence if not one.passages]
        missing = [Hit(chunk, 1.0) for chunk in document_passages(kb, names)]
        others = [hit.chunk for hit in (*gold, *entering)]
        rest = [Hit(chunk, 0.0) for chunk in document_passages(kb, [f"seen/{chunk.id}" for chunk in others])]
        return self.pipeline.with_knowledge(kb), [*missing, *rest]

    def reencoded_knowledge(self, lost: Sequence[Evidence], entering: Sequence[Hit]) -> KnowledgeBase:
        """A knowledge base in which the lost documents are whole, beside the passages that were seen."""
        if self.repaired is None:
            encoder: Any = self.kb.encoder
            self.repaired = KnowledgeBase.create(self.scratch / "kb", encoder=encoder)
        gold = [self.originals.get(one.document) or self.kb.document(one.document) for one in lost]
        documents = [Document(f"gold/{one.id}", one.text, one.title) for one in gold]
        documents += [Document(f"seen/{hit.chunk.id}", hit.chunk.text, hit.chunk.title) for hit in entering]
        self.repaired.add(documents, source="blame")
        return self.repaired

    def is_right(self, sample: Sample, trace: Mapping[str, Any], pipeline: Pipeline, hits: Sequence[Hit]) -> bool:
        """Whether the answering part of the pipeline gets it right with these passages."""
        self.reruns += 1
        self.trouble = ""
        state = State(sample.question, sample.history, hits=tuple(hits), retrieved=tuple(hits))
        token = CALL_LOG.set(CallLog(f"blame {sample.id}", trace["repeat"]))
        try:
            after = pipeline.resume(state, self.first)
        except LlmkitError as error:
            self.trouble = f"; the repaired run failed: {error}"
            return False
        finally:
            CALL_LOG.reset(token)
        row = score_row(self.run.task, sample, trace["repeat"], after, 0.0, [])
        return bool(row["scores"].get(self.metric, 0.0) >= self.below)


def _own_words(state: State) -> str:
    """The reply of the model before any check."""
    return next((str(record.detail["raw"]) for record in reversed(state.records) if "raw" in record.detail), "")
