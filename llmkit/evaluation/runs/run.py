"""Running a task: bounded workers, a deadline for each sample, retries where they help, results written at once."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from llmkit.arguments import many_texts
from llmkit.errors import Cancelled, ConfigError, DataError, LlmkitError, ModelError
from llmkit.evaluation.runs.entry_step import answering_step, enter_pipeline
from llmkit.evaluation.runs.plan import Plan
from llmkit.evaluation.runs.plan import plan as make_plan
from llmkit.evaluation.runs.run_digest import digest
from llmkit.evaluation.runs.run_folder import RunFolder, write_json
from llmkit.evaluation.runs.scoring import score_row
from llmkit.evaluation.runs.summary import summarise
from llmkit.evaluation.runs.trace import hit_rows, read_sample, read_state, sample_row, state_row
from llmkit.evaluation.tasks.task import Task, chosen_samples
from llmkit.models.response_cache import CALL_LOG, CacheError, CallLog
from llmkit.pipeline.pipeline import Pipeline
from llmkit.types import Event, Sample, State

_ALIKE = 5  # first samples that fail the same way: the rest would too


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is."""

    done: int
    """Samples, those of earlier sessions included."""
    total: int
    errors: int
    """Errors and time-outs of this session."""
    fresh: int
    """Samples run in this session."""
    seconds: float
    """Since this session began."""


@dataclass(slots=True)
class _Job:
    sample: Sample
    repeat: int
    stopped: threading.Event = field(default_factory=threading.Event)
    began: float = 0.0
    """Monotonic time at which a worker took it; 0 before."""
    given_up: bool = False
    """Its time was up, and another worker replaces the one that ran it."""


Failure = TypeVar("Failure", bound=BaseException)
_Done = tuple[_Job, "State | None", dict[str, Any], dict[str, Any]]


def evaluate(
    plan: Plan | Pipeline | str | Path,
    task: Task | str | Path | None = None,
    *,
    runs: str | Path = "runs",
    workers: int = 1,
    on_progress: Callable[[Progress], None] = lambda _: None,
    only: Collection[str] | None = None,
    on_wait: Callable[[str], None] = lambda _: None,
) -> RunFolder:
    """Run what is left to run, then write the summary: ``evaluate("docs-qa", "docs")``, or a plan alone.

    Samples that are done are not run again; those that failed are tried once more. Where the metrics have changed, what
    is done is scored anew from its traces, without running anything.

    Args:
        plan: pipeline and task, as :func:`llmkit.evaluation.plan` makes it; or a pipeline, its name or its file.
        task: with a pipeline, what it is judged on: a task, its name or its file.
        runs: with a pipeline, the folder of all runs.
        workers: samples at a time.
        on_progress: told after every sample.
        only: ids of the samples to run now; the run then stays unfinished, without a summary.
        on_wait: gets a sentence whenever a model's server is waited for before another try; called from any thread.

    Raises:
        ConfigError: a pipeline without a task.
        DataError: too many samples fail, the disk is full, or another process writes to this run. What is done is kept.
        Cancelled: interrupted; what is done is kept.
    """
    if only is not None:
        many_texts(only, "only")
    if not isinstance(plan, Plan):
        if task is None:
            raise ConfigError("evaluate needs a task beside the pipeline: write evaluate('docs-qa', 'docs')")
        plan = make_plan(plan, task, runs)
    folder = plan.folder()
    with folder.writing() as writing:
        rescored = _rescore(plan, folder, writing)
        session = _Session(plan, folder, writing, workers, on_progress, only, on_wait)
        session.run()
    path = folder.path / "summary.json"
    if session.fresh or rescored:
        path.unlink(missing_ok=True)  # it tells of other samples or figures than there are now
    if only is None and not path.exists():
        write_json(path, summarise(folder, plan.task))
    return folder


class _Session:
    def __init__(
        self,
        plan: Plan,
        folder: RunFolder,
        writing: Any,
        workers: int,
        on_progress: Callable[[Progress], None],
        only: Collection[str] | None,
        on_wait: Callable[[str], None],
    ) -> None:
        self.plan, self.writing, self.workers, self.only = plan, writing, workers, only
        self.on_progress, self.on_wait = on_progress, on_wait
        self.skip = folder.done()
        self.jobs: queue.Queue[_Job | None] = queue.Queue(maxsize=workers)
        self.results: queue.Queue[_Done | BaseException] = queue.Queue()
        self.running: dict[int, _Job] = {}
        self.fresh = self.errors = 0
        self.reasons: set[str] = set()
        self.began = time.monotonic()

    def run(self) -> None:
        """Hand out what is left, take in what is done."""
        self.report_progress()
        waiting = self.open_jobs()
        upcoming = next(waiting, None)
        if upcoming is None:
            return
        for _ in range(self.workers):
            self.start_worker()
        try:
            while upcoming is not None or self.running:
                while upcoming is not None and len(self.running) < self.workers:
                    self.running[id(upcoming)] = upcoming
                    self.jobs.put(upcoming)
                    upcoming = next(waiting, None)
                try:
                    self.store(self.results.get(timeout=0.05))
                except queue.Empty:
                    self.stop_overdue()
        except KeyboardInterrupt as error:
            raise Cancelled("interrupted") from error
        finally:
            for job in self.running.values():
                job.stopped.set()
            for _ in range(self.workers):
                self.jobs.put(None) if not self.jobs.full() else None

    def open_jobs(self) -> Iterator[_Job]:
        for sample in chosen_samples(self.plan.task, self.plan.selection):
            if self.only is not None and sample.id not in self.only:
                continue
            for repeat in range(self.plan.task.repeats):
                if (sample.id, repeat) not in self.skip:
                    yield _Job(sample, repeat)

    def start_worker(self) -> None:
        threading.Thread(target=self.work, name="llmkit eval", daemon=True).start()

    def work(self) -> None:
        """A worker: one job after the other. What goes wrong with the harness itself is carried to the main thread."""
        while (job := self.jobs.get()) is not None:
            job.began = time.monotonic()
            try:
                self.results.put(_outcome(self.plan, job, self.on_wait))
            except BaseException as error:
                self.results.put(error)
                return
            if job.given_up:
                return

    def stop_overdue(self) -> None:
        """Stop the jobs whose time is up, and wait for them no longer."""
        deadline = self.plan.task.deadline
        if deadline is None:
            return
        for job in list(self.running.values()):
            if job.began and time.monotonic() - job.began > deadline:
                job.stopped.set()
                job.given_up = True
                self.start_worker()
                why = f"not done within the deadline of {deadline:g} s"
                self.store(_failed(job, "timeout", why, deadline, []))

    def store(self, done: _Done | BaseException) -> None:
        """Write a result, unless its job was given up."""
        if isinstance(done, BaseException):
            raise done
        job, state, trace, row = done
        if self.running.pop(id(job), None) is None:
            return
        self.writing.add(state, trace, row)
        self.fresh += 1
        if row["status"] != "ok":
            self.count_failure(row)
        self.report_progress()

    def count_failure(self, row: dict[str, Any]) -> None:
        """Count a failure; stop where going on would be a waste."""
        self.errors += 1
        task = self.plan.task
        self.reasons.add(row["error"])
        allowed = task.fail_on_error * self.plan.samples
        if self.fresh == self.errors >= _ALIKE and len(self.reasons) == 1 and allowed < self.plan.samples:
            raise DataError(f"the first {self.errors} samples all failed the same way: {row['error']}")
        if self.errors > allowed:
            raise DataError(
                f"{self.errors} of {self.fresh} samples failed, more than fail_on_error: {task.fail_on_error:g} of "
                f"{self.plan.samples} allows; the last: {row['error']}"
            )

    def report_progress(self) -> None:
        passed = time.monotonic() - self.began
        self.on_progress(Progress(len(self.skip) + self.fresh, self.plan.samples, self.errors, self.fresh, passed))


def _outcome(plan: Plan, job: _Job, on_wait: Callable[[str], None]) -> _Done:
    """Run one sample, again where the failure may pass."""

    def listen(event: Event) -> None:
        if job.stopped.is_set():
            raise Cancelled("stopped")
        if event.kind == "note" and "wait" in event.data:
            on_wait(f"{job.sample.id}: {event.text}")

    log = CallLog(job.sample.id, job.repeat)
    began = time.perf_counter()
    for attempt in range(plan.task.retries + 1):
        log = CallLog(job.sample.id, job.repeat)
        token = CALL_LOG.set(log)
        try:
            state, step = enter_pipeline(plan.pipeline, plan.task, job.sample)
            answers = answering_step(plan.pipeline)
            entering = plan.pipeline.resume(state, step, answers, on_event=listen)
            state = plan.pipeline.resume(entering, answers, on_event=listen)
            seconds = time.perf_counter() - began
            row = score_row(plan.task, job.sample, job.repeat, state, seconds, log.calls)
        except Exception as error:
            if full := _cause(error, CacheError):
                raise full from error
            if attempt < plan.task.retries and (wait := _worth_waiting(error, attempt)) and not job.stopped.wait(wait):
                continue
            reason = str(error) if isinstance(error, LlmkitError) else f"{type(error).__name__}: {error}"
            return _failed(job, "error", reason, time.perf_counter() - began, log.calls)
        finally:
            CALL_LOG.reset(token)
        trace = _trace(job, "ok", None, seconds, log.calls)
        trace |= {"state": state_row(state), "entering": hit_rows(entering.hits)}
        return job, state, trace, row
    raise AssertionError("the last attempt returns")


def _worth_waiting(error: Exception, attempt: int) -> float:
    """Seconds until a further attempt; 0 where none would help."""
    failed = _cause(error, ModelError)
    if failed is None or not failed.retryable:
        return 0.0
    return failed.retry_after or 0.5 * 2**attempt


def _cause(error: BaseException | None, kind: type[Failure]) -> Failure | None:
    """The error of that kind among an error and its causes."""
    for _ in range(100):  # an error may be its own cause
        if error is None or isinstance(error, kind):
            return error
        error = error.__cause__
    return None


def _trace(job: _Job, status: str, error: str | None, seconds: float, calls: list[Any]) -> dict[str, Any]:
    sample = sample_row(job.sample)
    return {
        "id": job.sample.id, "repeat": job.repeat, "status": status, "error": error, "seconds": round(seconds, 6),
        "sample": sample, "entering": [], "state": None, "calls": calls,
    }  # fmt: skip


def _failed(job: _Job, status: str, why: str, seconds: float, calls: list[Any]) -> _Done:
    row = {
        "id": job.sample.id, "repeat": job.repeat, "cluster": job.sample.cluster or job.sample.id, "status": status,
        "error": why, "seconds": round(seconds, 6), "scores": {}, "unscored": {},
    }  # fmt: skip
    return job, None, _trace(job, status, why, seconds, calls), row


def _rescore(plan: Plan, folder: RunFolder, writing: Any) -> bool:
    """Score what is done anew, where the metrics are others than those it was scored with; says whether they are."""
    task = plan.task
    scoring = [[metric.config() for metric in task.metrics], {n: p.config() for n, p in task.prices.items()}]  # type: ignore[attr-defined]
    wanted, before = digest(scoring), folder.run.get("metrics_digest")
    if before == wanted and folder.run["primary"] == task.decides:
        return False
    if before not in (None, wanted):
        passages = folder.passages()
        failed = (row for row in folder.scores() if row["status"] != "ok")
        again = (
            score_row(
                task, read_sample(trace["sample"]), trace["repeat"], read_state(trace["state"], passages),
                trace["seconds"], trace["calls"],
            )
            for trace in folder.traces() if trace["status"] == "ok"
        )  # fmt: skip
        writing.replace_scores(row for rows in (failed, again) for row in rows)
    figures = {
        name: {"about": figure.about, "better": figure.better, "unit": figure.unit}
        for name, figure in task.figures.items()
    }
    folder.run |= {
        "metrics_digest": wanted, "metrics": figures, "primary": task.decides, "task_config": task.config(),
    }  # fmt: skip
    write_json(folder.path / "run.json", folder.run)
    return True
