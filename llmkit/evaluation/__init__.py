"""Evaluation: tasks, metrics, runs, statistics, and what went wrong where."""

from __future__ import annotations

from llmkit.lazy import lazy_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from llmkit.evaluation.analysis.compare import Comparison as Comparison
    from llmkit.evaluation.analysis.compare import compare as compare
    from llmkit.evaluation.analysis.compare import gate as gate
    from llmkit.evaluation.analysis.error_analysis import blame as blame
    from llmkit.evaluation.analysis.regressions import flips as flips
    from llmkit.evaluation.runs.plan import Plan as Plan
    from llmkit.evaluation.runs.plan import plan as plan
    from llmkit.evaluation.runs.replay import replay as replay
    from llmkit.evaluation.runs.run import Progress as Progress
    from llmkit.evaluation.runs.run import evaluate as evaluate
    from llmkit.evaluation.runs.run_folder import RunFolder as RunFolder
    from llmkit.evaluation.tasks.task import Task as Task
    from llmkit.evaluation.tasks.task import load_task as load_task

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "analysis.compare": ["Comparison", "compare", "gate"],
        "analysis.error_analysis": ["blame"],
        "analysis.regressions": ["flips"],
        "runs.plan": ["Plan", "plan"],
        "runs.replay": ["replay"],
        "runs.run": ["Progress", "evaluate"],
        "runs.run_folder": ["RunFolder"],
        "tasks.task": ["Task", "load_task"],
    },
)
