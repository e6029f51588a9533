"""From a word in YAML to a class. Only the class that is looked up is imported.

The table below names every part that ships. Plugins are entry points of the group ``llmkit.parts``, named
``family.type``. They are loaded only for words that are not in the table, and an error while one is imported is kept as
the cause. YAML never names a Python path.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationError
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from llmkit.errors import ConfigError, unknown
from llmkit.extras import optional
from llmkit.part import Part
from llmkit.protocols import QuestionAnswerer

BUILTIN: dict[str, dict[str, str]] = {
    "encoder": {
        "local": "llmkit.encoders.local:LocalEncoder",
        "dual": "llmkit.encoders.dual:DualEncoder",
        "sentence-transformer": "llmkit.encoders.sentence_transformer:SentenceTransformerEncoder",
        "openai": "llmkit.encoders.openai:OpenAIEncoder",
        "hashing": "llmkit.encoders.hashing:HashingEncoder",
    },
    "splitter": {
        "structure": "llmkit.text.splitter:StructureSplitter",
    },
    "retriever": {
        "dense": "llmkit.retrieval.dense_and_bm25:Dense",
        "bm25": "llmkit.retrieval.dense_and_bm25:BM25",
        "hybrid": "llmkit.retrieval.hybrid:Hybrid",
        "mmr": "llmkit.retrieval.mmr:MaximalMarginalRelevance",
    },
    "reranker": {
        "local": "llmkit.retrieval.rerankers.local_cross_encoder:LocalCrossEncoder",
        "cross-encoder": "llmkit.retrieval.rerankers.sentence_transformers:CrossEncoder",
        "late-interaction": "llmkit.retrieval.rerankers.sentence_transformers:LateInteraction",
    },
    "rewriter": {
        "multi-query": "llmkit.pipeline.steps.retrieval.query_rewriters:MultiQuery",
        "hyde": "llmkit.pipeline.steps.retrieval.query_rewriters:HyDE",
        "step-back": "llmkit.pipeline.steps.retrieval.query_rewriters:StepBack",
        "decompose": "llmkit.pipeline.steps.retrieval.query_rewriters:Decompose",
    },
    "step": {
        "retrieve": "llmkit.pipeline.steps.retrieval.retrieve:Retrieve",
        "condense": "llmkit.pipeline.steps.retrieval.condense:Condense",
        "rerank": "llmkit.pipeline.steps.retrieval.rerank:Rerank",
        "expand": "llmkit.pipeline.steps.retrieval.expand:Expand",
        "answer": "llmkit.pipeline.steps.answering.answer:AnswerStep",
        "extract": "llmkit.pipeline.steps.answering.extract:Extract",
        "ground": "llmkit.pipeline.steps.answering.ground:Ground",
        "abstain": "llmkit.pipeline.steps.answering.abstain:Abstain",
        "generate": "llmkit.pipeline.steps.answering.generate:Generate",
        "structured": "llmkit.pipeline.steps.answering.structured:Structured",
        "classify": "llmkit.pipeline.steps.answering.classify:Classify",
        "refine": "llmkit.pipeline.steps.loops.refine:Refine",
        "best-of-n": "llmkit.pipeline.steps.loops.sampling:BestOfN",
        "self-consistency": "llmkit.pipeline.steps.loops.sampling:SelfConsistency",
        "reflexion": "llmkit.pipeline.steps.loops.reflexion:Reflexion",
        "agent": "llmkit.pipeline.agent.step:Agent",
        "tool-call": "llmkit.pipeline.agent.tool_call:ToolCallStep",
    },
    "tool": {
        "search": "llmkit.pipeline.tools.search:Search",
        "calculator": "llmkit.agents.tools.calculator_clock_units:Calculator",
        "now": "llmkit.agents.tools.calculator_clock_units:Now",
        "convert": "llmkit.agents.tools.calculator_clock_units:Convert",
        "table": "llmkit.agents.tools.table:Table",
        "read_file": "llmkit.agents.tools.files:ReadFile",
        "write_file": "llmkit.agents.tools.files:WriteFile",
        "python": "llmkit.agents.tools.python:Python",
        "pipeline": "llmkit.pipeline.tools.pipeline:PipelineTool",
        "langchain": "llmkit.agents.tools.langchain_and_mcp:LangChainTool",
        "mcp": "llmkit.agents.tools.langchain_and_mcp:MCP",
    },
    "verifier": {
        "concepts": "llmkit.tasks.concepts:ConceptsUsed",
        "instructions": "llmkit.tasks.ifeval.following:InstructionsFollowed",
        "citations": "llmkit.pipeline.verifiers.citations:CitationsSupported",
        "unit-tests": "llmkit.pipeline.verifiers.unit_tests:UnitTestsPassed",
        "json-schema": "llmkit.pipeline.verifiers.json_schema:JsonSchema",
        "calculator": "llmkit.pipeline.verifiers.calculator:Calculator",
        "acronym": "llmkit.tasks.acronyms:AcronymForm",
        "sentiment": "llmkit.tasks.sentiment:SentimentReversed",
    },
    "examples": {
        "qa": "llmkit.training.data.formats:QA",
        "beir": "llmkit.training.data.formats:BEIR",
        "squad": "llmkit.training.data.formats:SQuAD",
        "dpr": "llmkit.training.data.formats:DPRPairs",
        "pairs": "llmkit.training.data.formats:Pairs",
        "mined": "llmkit.training.data.mined_format:Mined",
        "several": "llmkit.training.data.mixtures:Mixture",
        "held": "llmkit.training.data.mixtures:HeldOut",
    },
    "dataset": {
        "rows": "llmkit.evaluation.tasks.datasets:Rows",
        "qa": "llmkit.evaluation.tasks.datasets:QAFolder",
        "beir": "llmkit.evaluation.tasks.datasets:Beir",
        "squad": "llmkit.evaluation.tasks.public_datasets:Squad",
        "dpr": "llmkit.evaluation.tasks.public_datasets:DPR",
        "hotpot": "llmkit.evaluation.tasks.public_datasets:Hotpot",
        "huggingface": "llmkit.evaluation.tasks.public_datasets:HuggingFace",
    },
    "conversations": {
        "chat": "llmkit.training.lora.datasets:ChatRows",
        "instructions": "llmkit.training.lora.datasets:InstructionRows",
        "questions": "llmkit.training.lora.datasets:QuestionRows",
        "preferences": "llmkit.training.lora.datasets:PreferenceRows",
        "run": "llmkit.training.lora.datasets:GoodSamples",
    },
    "metric": {
        "retrieval": "llmkit.evaluation.metrics.retrieval:Retrieval",
        "answer": "llmkit.evaluation.metrics.answer:AnswerMatch",
        "abstention": "llmkit.evaluation.metrics.abstention:Abstention",
        "citations": "llmkit.evaluation.metrics.citations:Citations",
        "rouge": "llmkit.evaluation.metrics.rouge:Rouge",
        "label": "llmkit.evaluation.metrics.exact:Label",
        "number": "llmkit.evaluation.metrics.exact:Number",
        "concepts": "llmkit.tasks.concepts:Concepts",
        "instructions": "llmkit.tasks.ifeval.following:Instructions",
        "groundedness": "llmkit.evaluation.metrics.groundedness:Groundedness",
        "judge": "llmkit.evaluation.metrics.judge:Judge",
        "tool-call": "llmkit.evaluation.metrics.tools:ToolCall",
        "agent": "llmkit.evaluation.metrics.agent:AgentWork",
        "injection": "llmkit.evaluation.metrics.agent:Injection",
        "unit-tests": "llmkit.evaluation.metrics.unit_tests:UnitTests",
        "acronym": "llmkit.tasks.acronyms:AcronymScore",
        "sentiment": "llmkit.tasks.sentiment:SentimentScore",
    },
    "strategy": {
        "grid": "llmkit.experiments.race.strategies:Grid",
        "successive": "llmkit.experiments.race.strategies:SuccessiveElimination",
        "lucb": "llmkit.experiments.race.strategies:LUCB",
        "thompson": "llmkit.experiments.race.strategies:TopTwoThompson",
        "epsilon-greedy": "llmkit.experiments.race.strategies:EpsilonGreedy",
        "optimise": "llmkit.experiments.optimise.strategy:Optimise",
    },
}

PIPELINES = "llmkit.pipeline.pipeline:load_pipeline"
"""The function that loads a pipeline by name. A knowledge base must not import pipelines, which are above it;
``kb.ask`` finds the function here, as a string."""


def load_pipeline(name: str | Path, overrides: Sequence[str] = ()) -> QuestionAnswerer:
    """A pipeline by name or path.

    Raises:
        ConfigError: the file has problems; the message gives each with its line.
    """
    module, _, function = PIPELINES.partition(":")
    return cast("QuestionAnswerer", getattr(import_module(module), function)(name, overrides))


def names(family: str) -> list[str]:
    """All type words of a family, those of plugins included, sorted."""
    return sorted({*BUILTIN.get(family, {}), *_plugins(family)})


def lookup(family: str, word: str) -> type[Part]:
    """The class behind a type word.

    Raises:
        ConfigError: the word is unknown (the message has the nearest and all known words), or its plugin cannot be
            imported (with the error as the cause).
    """
    target = BUILTIN.get(family, {}).get(word)
    if target is not None:
        module, _, name = target.partition(":")
        with optional():
            return cast("type[Part]", getattr(import_module(module), name))
    plugin = _plugins(family).get(word)
    if plugin is None:
        raise ConfigError(unknown(f"{family} type", word, names(family)))
    try:
        found = plugin.load()
    except Exception as error:
        raise ConfigError(f"the plugin {plugin.value!r} for {family} {word!r} does not import: {error}") from error
    if not (isinstance(found, type) and issubclass(found, Part)):
        raise ConfigError(f"the plugin {plugin.value!r} for {family} {word!r} is not a subclass of llmkit.Part")
    return found


def _plugins(family: str) -> dict[str, Any]:
    prefix = f"{family}."
    return {
        point.name.removeprefix(prefix): point
        for point in entry_points(group="llmkit.parts")
        if point.name.startswith(prefix)
    }


class PartInvalid(ValueError):
    """The fields of a part are wrong. The validation error is kept, so that `config` can give each problem its line."""

    def __init__(self, part: type[Part], error: ValidationError) -> None:
        super().__init__(str(error))
        self.part = part
        self.error = error


class one_of:  # noqa: N801  (reads as a word in annotations: Annotated[Retriever, one_of("retriever")])
    """Pydantic marker: the field holds a part of `family`, given as a part, a bare word or a mapping."""

    def __init__(self, family: str) -> None:
        self.family = family

    def parse(self, value: object) -> Part:
        """A part from its YAML form.

        Raises:
            PydanticCustomError: the value is no word and no mapping, or its ``type`` is missing or unknown.
            PartInvalid: the fields of the part are wrong.
        """
        if isinstance(value, Part):
            if value.family != self.family:
                raise PydanticCustomError(
                    "part_family", "{message}", {"message": f"expected a {self.family}, got a {value.family}"}
                )
            return value
        if isinstance(value, str):
            value = {"type": value}
        if not isinstance(value, dict):
            raise PydanticCustomError(
                "part_form", "{message}", {"message": f"expected a {self.family}: a word or a mapping with 'type'"}
            )
        word = value.get("type")
        if not isinstance(word, str):
            message = f"a {self.family} needs 'type' (known: {', '.join(names(self.family))})"
            raise PydanticCustomError("part_type", "{message}", {"message": message, "key": "type"})
        try:
            part = lookup(self.family, word)
        except ConfigError as error:
            raise PydanticCustomError("part_type", "{message}", {"message": str(error), "key": "type"}) from error
        try:
            return part.model_validate({key: item for key, item in value.items() if key != "type"})
        except ValidationError as error:
            raise PartInvalid(part, error) from error

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self.parse, serialization=core_schema.plain_serializer_function_ser_schema(lambda part: part.config())
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {_FAMILY: self.family}  # families refer to one another: json_schema inserts the references


_FAMILY = "x-llmkit-family"


def json_schema(model: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of a configuration, for editors: all shipped parts with their keys and descriptions."""
    schema = model.model_json_schema()
    definitions: dict[str, Any] = schema.setdefault("$defs", {})
    wanted = _link(schema, definitions)
    while wanted:
        family = wanted.pop()
        if family in definitions:
            continue
        forms: list[Any] = [{"enum": names(family)}]
        definitions[family] = {"anyOf": forms}
        for word in BUILTIN.get(family, {}):
            inner = lookup(family, word).model_json_schema()
            inner["properties"] = {"type": {"const": word}, **inner.get("properties", {})}
            inner["required"] = ["type", *inner.get("required", [])]
            wanted |= _link(inner, definitions)
            forms.append(inner)
    return schema


def _link(node: Any, definitions: dict[str, Any]) -> set[str]:
    """Replace family marks by references and move inner definitions to the top; return the families that were found."""
    found: set[str] = set()
    if isinstance(node, list):
        for item in node:
            found |= _link(item, definitions)
    elif isinstance(node, dict):
        inner = node.get("$defs")
        if isinstance(inner, dict) and inner is not definitions:
            del node["$defs"]
            definitions |= inner
            found |= _link(inner, definitions)
        family = node.pop(_FAMILY, None)
        if family is not None:
            node["$ref"] = f"#/$defs/{family}"
            found.add(family)
        for item in list(node.values()):
            found |= _link(item, definitions)
    return found
