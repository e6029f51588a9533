"""The pipelines that the server offers, each as a model to its clients, with the chat models they share."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from llmkit.errors import unknown
from llmkit.models.chat import ChatModelSpec, load_chat, with_slots
from llmkit.pipeline.pipeline import Pipeline, load_pipeline
from llmkit.serve.errors import HttpError
from llmkit.serve.runtime.knowledge_pool import KnowledgePool, Reader

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel


class PipelineRegistry:
    """Pipelines by name, over one knowledge base.

    Args:
        pipelines: the pipelines; the first is the default.
        knowledge: the knowledge base they retrieve from.
        load_model: loads a chat model; each spec is loaded once for all pipelines.
        slots: calls that one local model answers at the same time, where it can.
    """

    def __init__(
        self,
        pipelines: Sequence[Pipeline],
        knowledge: KnowledgePool,
        load_model: Callable[[ChatModelSpec], BaseChatModel] = load_chat,
        slots: int = 1,
    ) -> None:
        self.knowledge, self._slots = knowledge, slots
        self._load_model = load_model
        self._models: dict[str, BaseChatModel] = {}
        self._lock = threading.Lock()
        self.pipelines = {pipeline.name: pipeline.with_models(self._chat_model) for pipeline in pipelines}

    @classmethod
    def load(
        cls, names: Sequence[str], overrides: Sequence[str], knowledge: KnowledgePool, slots: int = 1
    ) -> PipelineRegistry:
        """Load pipelines by name or from files.

        Args:
            names: names or paths of the pipelines.
            overrides: settings of the form ``path=value`` for every pipeline.
            knowledge: the knowledge base they retrieve from.
            slots: calls that one local model answers at the same time, where it can.

        Raises:
            ConfigError: a file has problems; the message lists all of them.
        """
        return cls([load_pipeline(name, overrides, knowledge=knowledge.path) for name in names], knowledge, slots=slots)

    @property
    def default(self) -> str:
        """Name of the first pipeline."""
        return next(iter(self.pipelines))

    def get(self, name: str) -> Pipeline:
        """Return the pipeline of a name.

        Raises:
            HttpError: 404, there is no such pipeline.
        """
        if name not in self.pipelines:
            raise HttpError(404, unknown("model", name, self.pipelines), code="model_not_found")
        return self.pipelines[name]

    @contextmanager
    def lease(self, name: str, reader: Reader) -> Iterator[Pipeline]:
        """Yield a pipeline over the knowledge base as a reader sees it now; it does not change until the lease ends.

        Raises:
            HttpError: there is no such pipeline, or it retrieves and there are no documents.
        """
        pipeline = self.get(name)
        if not pipeline.reads_knowledge:
            yield pipeline
            return
        with self.knowledge.lease(reader) as lease:
            if name not in lease.pipelines:
                lease.pipelines[name] = pipeline.with_knowledge(lease.kb)
            yield lease.pipelines[name]

    def _chat_model(self, spec: ChatModelSpec) -> BaseChatModel:
        with self._lock:
            if spec.digest not in self._models:
                self._models[spec.digest] = self._load_model(with_slots(spec, self._slots))
            return self._models[spec.digest]


def revises_answer(pipeline: Pipeline) -> bool:
    """Return whether a later step may change the answer that an earlier one streamed, as ``ground`` does."""
    return sum("answer" in step.gives for step in pipeline.steps) > 1
