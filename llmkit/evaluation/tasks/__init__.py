"""Evaluation tasks: the questions, their data sets and the corpus that answers them."""

from __future__ import annotations

from llmkit.lazy import lazy_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from llmkit.evaluation.tasks.datasets import Beir as Beir
    from llmkit.evaluation.tasks.datasets import QAFolder as QAFolder
    from llmkit.evaluation.tasks.datasets import Rows as Rows
    from llmkit.evaluation.tasks.public_datasets import DPR as DPR
    from llmkit.evaluation.tasks.public_datasets import Hotpot as Hotpot
    from llmkit.evaluation.tasks.public_datasets import HuggingFace as HuggingFace
    from llmkit.evaluation.tasks.public_datasets import Squad as Squad
    from llmkit.evaluation.tasks.task import Task as Task
    from llmkit.evaluation.tasks.task import load_task as load_task

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "datasets": ["Beir", "QAFolder", "Rows"],
        "public_datasets": ["DPR", "Hotpot", "HuggingFace", "Squad"],
        "task": ["Task", "load_task"],
    },
)
