"""Questions to a knowledge base: searched by a retriever, or answered by a pipeline.

Retrievers and pipelines lie on higher floors than the knowledge base, and nothing here imports them. A word is looked
up in :mod:`llmkit.registry`, which imports the class behind it when it is first used; what comes back is known by its
protocol (:class:`llmkit.protocols.Retriever`, :class:`llmkit.protocols.QuestionAnswerer`). There is thus one class
``KnowledgeBase``, with ``search`` and ``ask``, and no import that points upwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from llmkit import config, registry
from llmkit.arguments import many_texts
from llmkit.errors import ConfigError, DataError
from llmkit.part import Part
from llmkit.protocols import QuestionAnswerer, Retriever
from llmkit.types import Answer, Hits


def search(
    kb: Any, query: str | Sequence[str], k: int, where: Any, mode: str | Mapping[str, Any] | Retriever
) -> Hits | list[Hits]:
    """The hits of one question, or a list of hits for each of several.

    Args:
        kb: what the retriever searches.
        query: a question, or a list of questions.
        k: how many hits at most.
        where: a filter, or None.
        mode: a retriever, or the word or mapping that names one.

    Raises:
        DataError: a question that is empty or no text, or k below 1.
        ConfigError: an unknown mode.
    """
    retriever = retriever_of(mode)
    if isinstance(query, str):
        return Hits(retriever.retrieve(kb, [query], k, where)[0])
    return [Hits(hits) for hits in retriever.retrieve(kb, many_texts(query, "query"), k, where)]


def retriever_of(mode: str | Mapping[str, Any] | Retriever) -> Retriever:
    """The retriever that `mode` names; a word's retriever is made once.

    Raises:
        ConfigError: an unknown word, or a mapping that is no retriever.
    """
    if isinstance(mode, str):
        return _named(mode)
    if isinstance(mode, Mapping):
        mode = config.build_part("retriever", dict(mode), "mode")  # type: ignore[assignment]
    if not isinstance(mode, Retriever):
        raise ConfigError(f"mode is {type(mode).__name__}: write one of {', '.join(registry.names('retriever'))}")
    return mode


@lru_cache(maxsize=64)
def _named(word: str) -> Retriever:
    part: Part = config.build_part("retriever", word, "mode")
    return part  # type: ignore[return-value]


def answerer(
    known: dict[str, QuestionAnswerer], pipeline: str | Path | QuestionAnswerer, overrides: Sequence[str]
) -> QuestionAnswerer:
    """The pipeline of a name, file or object.

    Its file is read each time. While its content is the same, the pipeline in `known` is used, with the models it has
    loaded already.

    Raises:
        ConfigError: it is not there, or wrong; a question was given in its place.
    """
    if not isinstance(pipeline, str | Path):
        if not isinstance(pipeline, QuestionAnswerer):
            raise ConfigError(f"pipeline is {type(pipeline).__name__}: write a name as in pipeline='docs-qa'")
        return pipeline
    read = registry.load_pipeline(pipeline, many_texts(overrides, "overrides"))
    return known.setdefault(read.digest, read)


def ask(pipeline: QuestionAnswerer, question: str, options: Mapping[str, Any]) -> Answer:
    """The answer of a pipeline to one question.

    Raises:
        DataError: the question is not one text.
        ConfigError: the pipeline gives no answer.
    """
    if not isinstance(question, str):
        raise DataError(f"question is {type(question).__name__}: ask takes one question, a string")
    answer = pipeline.run(question, **options).answer
    if answer is None:
        raise ConfigError(
            f"the pipeline {pipeline.name!r} has no step that answers: kb.search finds passages, "
            f"load_pipeline({pipeline.name!r}).run(…) gives the whole state"
        )
    return answer
