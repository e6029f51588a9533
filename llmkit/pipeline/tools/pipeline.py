"""Tool ``pipeline``: asks another pipeline."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from contextvars import ContextVar
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from llmkit.agents.tool import Arguments, Output, Tool
from llmkit.errors import DataError, KnowledgeError
from llmkit.part import Part
from llmkit.pipeline.steps.answering.answer import MARK
from llmkit.protocols import Context

if TYPE_CHECKING:
    from llmkit.pipeline.pipeline import Pipeline

_DEPTH: ContextVar[int] = ContextVar("depth of pipelines that call pipelines", default=0)
_MAX_DEPTH = 3
_MARKS = re.compile(rf"\s*{MARK.pattern}")


class PipelineTool(Part):
    """Asks another pipeline, whose steps use the knowledge base of the asking pipeline with the same access labels."""

    family: ClassVar[str] = "tool"
    type: ClassVar[str] = "pipeline"

    pipeline: str
    """Name or file of the pipeline."""
    name: str = Field(default="ask", pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,63}$")
    """Name of the tool for the model."""
    about: str = "Answers a question."
    """Description of the tool for the model."""

    def tools(self) -> tuple[Tool, ...]:
        """The tool."""

        def call(given: Mapping[str, Any], ctx: Context) -> Output:
            depth = _DEPTH.get()
            if depth >= _MAX_DEPTH:
                raise DataError(f"pipelines may call one another {_MAX_DEPTH} levels deep: this call was not made")
            token = _DEPTH.set(depth + 1)
            try:
                pipeline = self._pipeline
                if any("hits" in step.gives for step in pipeline.steps):
                    with suppress(KnowledgeError):  # without a knowledge base there is no access to limit
                        pipeline = pipeline.with_knowledge(ctx.knowledge)
                state = pipeline.run(given["question"])
            finally:
                _DEPTH.reset(token)
            ctx.record(usage=state.usage)
            if state.answer is None:
                return Output("" if state.hits else "Nothing was found.", state.hits)
            return Output(_MARKS.sub("", state.answer.text))  # the numbers of its citations mean nothing here

        return (Tool(self.name, self.about, Arguments().text("question", "what to ask").schema, call),)

    @cached_property
    def _pipeline(self) -> Pipeline:
        from llmkit.pipeline.pipeline import load_pipeline

        return load_pipeline(self.pipeline)
