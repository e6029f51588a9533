"""The pipelines that are served, each a model to its clients, with chat models they share."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from llmkit.errors import unknown
from llmkit.models.chat import ChatModelSpec, load_chat, with_slots
from llmkit.pipeline.pipeline import Pipeline, load_pipeline
from llmkit.serve.auth.principal import Refused
from llmkit.serve.runtime.knowledge_pool import Reader, Shelf

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel


class Menu:
    """Pipelines by name, over a shelf."""

    def __init__(
        self,
        pipelines: Sequence[Pipeline],
        shelf: Shelf,
        load: Callable[[ChatModelSpec], BaseChatModel] = load_chat,
        slots: int = 1,
    ) -> None:
        self.shelf, self._slots = shelf, slots
        self._load = load
        self._models: dict[str, BaseChatModel] = {}
        self._lock = threading.Lock()
        self.pipelines = {one.name: one.with_models(self._model) for one in pipelines}

    @classmethod
    def read(cls, names: Sequence[str], overrides: Sequence[str], shelf: Shelf, slots: int = 1) -> Menu:
        """The pipelines of these names or files; `slots` calls of one model at a time, where it can.

        Raises:
            ConfigError: with every problem of a file.
        """
        return cls([load_pipeline(name, overrides, knowledge=shelf.path) for name in names], shelf, slots=slots)

    @property
    def default(self) -> str:
        """Name of the first pipeline."""
        return next(iter(self.pipelines))

    def find(self, name: str) -> Pipeline:
        """The pipeline of that name.

        Raises:
            Refused: 404, there is none.
        """
        if name not in self.pipelines:
            raise Refused(404, unknown("model", name, self.pipelines), code="model_not_found")
        return self.pipelines[name]

    @contextmanager
    def lease(self, name: str, reader: Reader) -> Iterator[Pipeline]:
        """The pipeline over the knowledge base as this reader sees it now; it stays as it is until the lease ends.

        Raises:
            Refused: there is no such pipeline, or it looks things up and there are no documents.
        """
        pipeline = self.find(name)
        if not pipeline.reads_knowledge:
            yield pipeline
            return
        with self.shelf.copy(reader) as copy:
            if name not in copy.pipelines:
                copy.pipelines[name] = pipeline.with_knowledge(copy.kb)
            yield copy.pipelines[name]

    def _model(self, spec: ChatModelSpec) -> BaseChatModel:
        """The chat model of a spec, loaded once for all pipelines."""
        with self._lock:
            if spec.digest not in self._models:
                self._models[spec.digest] = self._load(with_slots(spec, self._slots))
            return self._models[spec.digest]


def drafts(pipeline: Pipeline) -> bool:
    """Whether what is said while it runs may differ from its answer: a later step changes what an earlier one wrote."""
    return sum("answer" in step.gives for step in pipeline.steps) > 1
