"""Pipelines: lists of steps over an immutable state, where all capabilities meet."""

from __future__ import annotations

from llmkit.lazy import lazy_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from llmkit.pipeline.langchain import EncoderEmbeddings as EncoderEmbeddings
    from llmkit.pipeline.langchain import KnowledgeRetriever as KnowledgeRetriever
    from llmkit.pipeline.langchain import KnowledgeVectorStore as KnowledgeVectorStore
    from llmkit.pipeline.langchain import as_runnable as as_runnable
    from llmkit.pipeline.pipeline import Pipeline as Pipeline
    from llmkit.pipeline.pipeline import load_pipeline as load_pipeline

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "langchain": ["EncoderEmbeddings", "KnowledgeRetriever", "KnowledgeVectorStore", "as_runnable"],
        "pipeline": ["Pipeline", "load_pipeline"],
    },
)
