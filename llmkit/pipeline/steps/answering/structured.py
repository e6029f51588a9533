"""Step ``structured``: JSON that fits a schema, or an error; never half an object."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from llmkit.errors import ConfigError, DataError, ModelError
from llmkit.models.chat import ChatModelSpec, schema_options
from llmkit.part import Part
from llmkit.pipeline.steps.answering.schemas import MAX_ERRORS, check_schema, load_pydantic_model, read_schema
from llmkit.pipeline.steps.model_calls import ModelCalls, prompt_values
from llmkit.pipeline.verifiers.json_schema import JsonSchema, parse_json_draft
from llmkit.prompts import Output, PromptRef
from llmkit.protocols import Context
from llmkit.refine.loop import Judgement, Limits, Round, run_loop
from llmkit.types import Answer, Event, State, Verdict

NO_FORM = "No answer in the form that was asked for."


class Structured(Part):
    """Fills in a JSON schema from the question, which is the text to read, or from the passages of earlier steps.

    Generation is constrained to the schema where the model's runtime can do that (llama.cpp, OpenVINO, servers that
    accept OpenAI's ``response_format``). The reply is validated in any case, and repaired in a refinement loop. A reply
    that cannot be repaired is an error of the step, which evaluations count.
    """

    family: ClassVar[str] = "step"
    type: ClassVar[str] = "structured"
    needs: ClassVar[frozenset[str]] = frozenset({"question"})
    gives: ClassVar[frozenset[str]] = frozenset({"answer"})
    reads: ClassVar[dict[str, Output]] = {"prompt": "json", "revise": "json"}

    json_schema: dict[str, Any] = Field(default_factory=dict)
    """The schema, or the path of a JSON file with it. References must stay inside the schema."""
    pydantic_model: str | None = None
    """Instead of a schema: the name of an entry point of the group ``llmkit.schemas``."""
    prompt: Annotated[str, PromptRef("question", "schema", optional=["passages"])] = "structured@v1"
    """Prompt with the variables ``question`` and ``schema``; may have ``passages``."""
    revise: Annotated[str, PromptRef("schema", "feedback", optional=["question", "draft", "passages"])] = (
        "structured-revise@v1"
    )
    """Prompt of a repair, with ``schema`` and ``feedback``; may have ``question``, ``draft`` and ``passages``."""
    rounds: int = Field(default=2, ge=0, le=20)
    """Maximum number of repairs."""
    constrain: bool = True
    """Whether generation is constrained to the schema, where the model's runtime can do that."""
    on_failure: Literal["error", "abstain"] = "error"
    """error: the step fails; abstain: the step gives no answer, and a note says why."""
    model: ChatModelSpec | None = None
    """Chat model of this step; null: the pipeline's."""

    @model_validator(mode="before")
    @classmethod
    def _load_schema(cls, values: Any) -> Any:
        """Put the schema itself in place of its file or model: the digest of a run must cover it."""
        if not isinstance(values, Mapping):
            return values
        given, name = values.get("json_schema"), values.get("pydantic_model")
        try:
            if isinstance(given, str):
                given = read_schema(Path(given).expanduser())
            if isinstance(name, str):
                of_model = load_pydantic_model(name).model_json_schema()
                if given and given != of_model:
                    raise ConfigError(f"json_schema differs from the schema of pydantic_model {name}: give one of them")
                given = of_model
        except ConfigError as error:
            raise ValueError(str(error)) from error
        if given is None:
            raise ValueError("give a json_schema (a mapping, or a file), or a pydantic_model")
        return {**values, "json_schema": given}

    @field_validator("json_schema")
    @classmethod
    def _check_schema(cls, value: dict[str, Any]) -> dict[str, Any]:
        try:
            check_schema(value)
        except ConfigError as error:
            raise ValueError(str(error)) from error
        return value

    def run(self, state: State, ctx: Context) -> State:
        """Fill ``state.answer`` with the JSON on one line; every attempt goes into the record.

        Raises:
            ReplyError: no attempt had any text.
            DataError: no attempt was valid; the message names the errors of the best one.
        """
        verifier = JsonSchema(json_schema=self.json_schema)
        model = load_pydantic_model(self.pydantic_model) if self.pydantic_model else None
        schema = json.dumps(self.json_schema, ensure_ascii=False)
        calls = ModelCalls(ctx, Limits(self.rounds), temperature=None, seed=None)
        options = schema_options(ctx.model(self.model), self.json_schema) if self.constrain else {}

        def ask(prompt: str, **more: str) -> str:
            nonlocal options
            values = prompt_values(state, schema=schema, **more)
            try:
                return calls.try_ask(self.model, prompt, values, require="text", options=options)
            except ModelError as error:
                if not options or error.retryable or "schema" not in str(error).casefold():
                    raise
                ctx.note(f"the model's runtime does not accept the schema: replies are not constrained ({error})")
                options = {}
                return calls.try_ask(self.model, prompt, values, require="text")

        def judge(draft: str) -> Judgement:
            verdict = verifier.verify(draft, state)
            if verdict.score == 1 and model is not None:
                verdict = _validate_with_model(model, draft)
            return Judgement((("json-schema", verdict),))

        def propose(rounds: Sequence[Round]) -> str:
            last = rounds[-1]
            return ask(self.revise, draft=last.draft, feedback=last.judgement.feedback or "There was no reply.")

        result = run_loop(ask(self.prompt), judge, propose, calls.spending)
        kept, value = result.kept, None
        if kept.judgement.accepted:
            value = parse_json_draft(kept.draft)
        calls.write_record(**result.record, constrained=bool(options), structured=value)
        if kept.judgement.accepted:
            text = json.dumps(value, ensure_ascii=False)
            ctx.emit(Event("token", text=text))
            return state.replace(answer=Answer(text))
        if calls.failure is not None and not any(one.draft for one in result.rounds):
            raise calls.failure
        why = (
            f"no JSON of the schema after {len(result.rounds)} attempts: {kept.judgement.feedback}\n"
            f"The best attempt was: {kept.draft[:300]!r}"
        )
        if self.on_failure == "error":
            raise DataError(why)
        ctx.note(why)
        return state.replace(answer=Answer(NO_FORM, abstained=True))


def _validate_with_model(model: type[BaseModel], draft: str) -> Verdict:
    """Run the validators of the pydantic model, which its schema does not express."""
    try:
        model.model_validate(parse_json_draft(draft))
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False)[:MAX_ERRORS]
        messages = [f"At {'.'.join(map(str, one['loc'])) or '$'}: {one['msg'][:300]}" for one in details]
        return Verdict(0.5, tuple(messages))
    return Verdict(1.0)
