"""Structured output: a text in, JSON of a schema out, or an error; never half an object."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from llmkit.errors import ConfigError, DataError, ModelError
from llmkit.models.chat import ChatModelSpec, schema_options
from llmkit.part import Part
from llmkit.pipeline.steps.answering.schemas import MOST, check_schema, model_named, read_schema
from llmkit.pipeline.steps.model_calls import Asking, known_values, with_some
from llmkit.pipeline.verifiers.json_schema import JsonSchema, json_of
from llmkit.prompts import Output
from llmkit.protocols import Context
from llmkit.refine.loop import Judged, Limits, Round, loop
from llmkit.types import Answer, Event, State, Verdict

NO_FORM = "No answer in the form that was asked for."


class Structured(Part):
    """Fills in a JSON schema from the question, which is the text to read, or from the passages before it.

    The model is held to the schema while it writes where its runtime can do that (llama.cpp, OpenVINO, servers that
    take OpenAI's ``response_format``). What it wrote is checked in any case, and mended in a loop of refinement; what
    could not be mended is an error of the step, which evaluations count.
    """

    family: ClassVar[str] = "step"
    type: ClassVar[str] = "structured"
    needs: ClassVar[frozenset[str]] = frozenset({"question"})
    gives: ClassVar[frozenset[str]] = frozenset({"answer"})
    reads: ClassVar[dict[str, Output]] = {"prompt": "json", "revise": "json"}

    json_schema: dict[str, Any] = Field(default_factory=dict)
    """The schema, or the path of a JSON file that holds it; references lead into it only."""
    pydantic_model: str | None = None
    """In place of a schema: the name of an entry point of the group ``llmkit.schemas``."""
    prompt: str = "structured@v1"
    """Prompt with the variables ``question`` and ``schema``; may have ``passages``."""
    revise: str = "structured-revise@v1"
    """Prompt that mends, with ``schema`` and ``feedback``; may have question, draft and passages."""
    rounds: int = Field(default=2, ge=0, le=20)
    """Repairs at most."""
    constrain: bool = True
    """Whether the model is held to the schema while it writes, where its runtime can."""
    on_failure: Literal["error", "abstain"] = "error"
    """error: the step fails; abstain: there is no answer, and a note says why."""
    model: ChatModelSpec | None = None
    """Chat model of this step; the pipeline's where it names none."""

    @model_validator(mode="before")
    @classmethod
    def _read(cls, values: Any) -> Any:
        """Put the schema itself in place of a file or a model: it is part of what a run is a run of."""
        if not isinstance(values, Mapping):
            return values
        given, name = values.get("json_schema"), values.get("pydantic_model")
        try:
            if isinstance(given, str):
                given = read_schema(Path(given).expanduser())
            if isinstance(name, str):
                made = model_named(name).model_json_schema()
                if given and given != made:
                    raise ConfigError(f"json_schema is not that of pydantic_model {name}: leave one of them out")
                given = made
        except ConfigError as error:
            raise ValueError(str(error)) from error
        if given is None:
            raise ValueError("give a json_schema (a mapping, or a file), or a pydantic_model")
        return {**values, "json_schema": given}

    @field_validator("json_schema")
    @classmethod
    def _is_a_schema(cls, value: dict[str, Any]) -> dict[str, Any]:
        try:
            check_schema(value)
        except ConfigError as error:
            raise ValueError(str(error)) from error
        return value

    @field_validator("prompt")
    @classmethod
    def _prompt_is_there(cls, value: str) -> str:
        return with_some(value, ("question", "schema"), ("passages",))

    @field_validator("revise")
    @classmethod
    def _revise_is_there(cls, value: str) -> str:
        return with_some(value, ("schema", "feedback"), ("question", "draft", "passages"))

    def run(self, state: State, ctx: Context) -> State:
        """Fill ``state.answer`` with the JSON, on one line; every try goes into the record.

        Raises:
            DataError: it could not be mended; says what is wrong with the last try.
        """
        verifier = JsonSchema(json_schema=self.json_schema)
        model = model_named(self.pydantic_model) if self.pydantic_model else None
        schema = json.dumps(self.json_schema, ensure_ascii=False)
        asking = Asking(ctx, Limits(self.rounds), temperature=None, seed=None)
        options = schema_options(ctx.model(self.model), self.json_schema) if self.constrain else {}

        def ask(prompt: str, **more: str) -> str:
            nonlocal options
            values = known_values(state, schema=schema, **more)
            try:
                return asking.try_ask(self.model, prompt, values, require="text", options=options)
            except ModelError as error:
                if not options or error.retryable or "schema" not in str(error).casefold():
                    raise
                ctx.note(f"the model's runtime does not take the schema: what it writes is only checked ({error})")
                options = {}
                return asking.try_ask(self.model, prompt, values, require="text")

        def judge(draft: str) -> Judged:
            verdict = verifier.verify(draft, state)
            if verdict.score == 1 and model is not None:
                verdict = _by_model(model, draft)
            return Judged((("json-schema", verdict),))

        def propose(rounds: Sequence[Round]) -> str:
            last = rounds[-1]
            return ask(self.revise, draft=last.draft, feedback=last.judged.feedback or "There was no reply.")

        found = loop(ask(self.prompt), judge, propose, asking.spent)
        kept, value = found.kept, None
        if kept.judged.accepted:
            value = json_of(kept.draft)
        asking.close(**found.record, constrained=bool(options), structured=value)
        if kept.judged.accepted:
            text = json.dumps(value, ensure_ascii=False)
            ctx.emit(Event("token", text=text))
            return state.replace(answer=Answer(text))
        if asking.failed is not None and not any(one.draft for one in found.rounds):
            raise asking.failed
        why = (
            f"no JSON of the schema after {len(found.rounds)} tries: {kept.judged.feedback}\n"
            f"The best try was: {kept.draft[:300]!r}"
        )
        if self.on_failure == "error":
            raise DataError(why)
        ctx.note(why)
        return state.replace(answer=Answer(NO_FORM, abstained=True))


def _by_model(model: type[BaseModel], draft: str) -> Verdict:
    """What the pydantic model says beyond its schema: its own validators."""
    try:
        model.model_validate(json_of(draft))
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False)[:MOST]
        told = [f"At {'.'.join(map(str, one['loc'])) or '$'}: {one['msg'][:300]}" for one in details]
        return Verdict(0.5, tuple(told))
    return Verdict(1.0)
