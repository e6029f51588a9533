"""llmkit: retrieval-augmented generation and agents with answers you can check.

::

    from llmkit import KnowledgeBase

    kb = KnowledgeBase.open_or_create("kb")
    kb.ingest("~/papers")
    print(kb.search("warranty of pumps", k=5))
    print(kb.ask("What does the warranty exclude?"))

`docs/python.md` is the guide, `docs/reference.md` lists every public name.
"""

from __future__ import annotations

from llmkit.lazy import lazy_names
from llmkit.version import __version__ as __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from llmkit.encoders.load import load_encoder as load_encoder
    from llmkit.errors import LlmkitError as LlmkitError
    from llmkit.evaluation.runs.run import evaluate as evaluate
    from llmkit.evaluation.tasks.task import load_task as load_task
    from llmkit.experiments.experiment import load_experiment as load_experiment
    from llmkit.knowledge.knowledge_base import KnowledgeBase as KnowledgeBase
    from llmkit.models.chat import load_chat as load_chat
    from llmkit.part import Part as Part
    from llmkit.pipeline.chat.session import ChatSession as ChatSession
    from llmkit.pipeline.pipeline import Pipeline as Pipeline
    from llmkit.pipeline.pipeline import load_pipeline as load_pipeline
    from llmkit.types import Answer as Answer
    from llmkit.types import Chunk as Chunk
    from llmkit.types import Citation as Citation
    from llmkit.types import Document as Document
    from llmkit.types import Event as Event
    from llmkit.types import Hit as Hit
    from llmkit.types import Hits as Hits
    from llmkit.types import Message as Message
    from llmkit.types import Sample as Sample
    from llmkit.types import State as State

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "encoders.load": ["load_encoder"],
        "errors": ["LlmkitError"],
        "evaluation.runs.run": ["evaluate"],
        "evaluation.tasks.task": ["load_task"],
        "experiments.experiment": ["load_experiment"],
        "knowledge.knowledge_base": ["KnowledgeBase"],
        "models.chat": ["load_chat"],
        "part": ["Part"],
        "pipeline.chat.session": ["ChatSession"],
        "pipeline.pipeline": ["Pipeline", "load_pipeline"],
        "types": ["Answer", "Chunk", "Citation", "Document", "Event", "Hit", "Hits", "Message", "Sample", "State"],
    },
)
