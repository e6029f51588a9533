"""Structured output: what the model wrote is of the schema, or it is an error; hostile schemas are refused."""

from __future__ import annotations

import json
import time

import pytest
from evaluation import install
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, field_validator

from llmkit import config
from llmkit.errors import ConfigError, ModelError, StepError
from llmkit.evaluation.runs.plan import plan
from llmkit.evaluation.runs.run import evaluate
from llmkit.evaluation.tasks.task import Task
from llmkit.models.scripted import ScriptedChat
from llmkit.pipeline import Pipeline, load_pipeline
from llmkit.pipeline.steps.answering import schemas
from llmkit.pipeline.steps.answering.schemas import check_schema, read_json, validation_errors

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
GOOD = '{"name": "Ann", "age": 7}'


def made(model=None, **fields):
    step = {"type": "structured", "json_schema": PERSON, **fields}
    pipeline = config.Config({"name": "p", "model": "scripted:x", "steps": [step]}).build(Pipeline)
    return pipeline.with_models(lambda spec: model) if model is not None else pipeline


def detail(state):
    return state.records[-1].detail


def test_json_is_the_answer_in_a_fence_or_without():
    for reply in (GOOD, f"```json\n{GOOD}\n```"):
        state = made(ScriptedChat([reply])).run("Ann is seven.")
        assert state.answer.text == GOOD
        assert detail(state)["structured"] == {"name": "Ann", "age": 7}
        assert detail(state)["constrained"] is False


def test_what_is_wrong_is_told_to_the_model_and_mended():
    model = ScriptedChat(["Sure! Here it is.", '{"name": "Ann", "age": -1, "x": 1}', GOOD])
    state = made(model).run("Ann is seven.")
    assert state.answer.text == GOOD
    assert [one["score"] for one in detail(state)["rounds"]] == [0.0, 0.5, 1.0]
    assert "This is not JSON" in model.calls[1][-1].text
    assert "At $.age: -1 is less than the minimum of 0" in model.calls[2][-1].text
    assert "'x' was unexpected" in model.calls[2][-1].text


@pytest.mark.parametrize("reply", ["no", "{", '{"name": "Ann"}', f"{GOOD} {GOOD}", '{"name": "A", "age": NaN}',
                                   '{"name": "A", "age": 1, "age": 2}', "[" * 5000])  # fmt: skip
def test_what_cannot_be_mended_is_an_error_never_half_an_object(reply):
    with pytest.raises(StepError, match="no JSON of the schema after 3 attempts"):
        made(ScriptedChat([reply] * 3)).run("Ann")
    state = made(ScriptedChat([reply]), rounds=0, on_failure="abstain").run("Ann")
    assert state.answer.abstained
    assert detail(state)["structured"] is None
    assert any("no JSON of the schema" in note for note in detail(state)["notes"])


def test_no_reply_at_all_is_an_error_and_no_abstention():
    for step in ({}, {"rounds": 0, "on_failure": "abstain"}):
        with pytest.raises(StepError, match="the model answered with no text"):
            made(ScriptedChat([""] * 3), **step).run("Ann")


def test_an_evaluation_counts_what_could_not_be_mended(tmp_path, monkeypatch):
    install(monkeypatch, lambda messages: GOOD if "Ann" in messages[-1].text else "no")
    rows = [{"id": str(n), "text": "Ann is seven." if n else "Nobody.", "answers": [GOOD]} for n in range(4)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    values = {"name": "t", "dataset": {"type": "rows", "path": str(tmp_path / "rows.jsonl"), "question": "$text"},
              "knowledge": "none", "metrics": ["answer"], "fail_on_error": 0.5}  # fmt: skip
    task = config.Config(values).build(Task)
    summary = evaluate(plan(made(rounds=0), task, tmp_path / "runs")).summary()
    assert (summary["ok"], summary["errors"]) == (3, 1)
    assert "no JSON of the schema" in next(iter(summary["failures"]))


class Invoice(BaseModel):
    number: str = Field(pattern=r"^[A-Z]{2}\d+$")
    total: float

    @field_validator("total")
    @classmethod
    def _positive(cls, value):
        if value <= 0:
            raise ValueError("an invoice asks for money")
        return value


class _Point:
    name, value = "invoice", "mine:Invoice"

    def __init__(self, found=Invoice):
        self.found = found

    def load(self):
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


@pytest.fixture
def installed(monkeypatch):
    def install(found=Invoice):
        monkeypatch.setattr(schemas, "entry_points", lambda group: [_Point(found)])

    install()
    return install


def test_a_pydantic_model_is_named_by_its_entry_point_and_its_own_validators_count(installed):
    model = ScriptedChat(['{"number": "AB1", "total": -2}', '{"number": "AB1", "total": 2}'])
    pipeline = made(model, json_schema=None, pydantic_model="invoice")
    assert json.loads(pipeline.run("AB1 costs 2").answer.text) == {"number": "AB1", "total": 2}
    assert "At total: Value error, an invoice asks for money" in model.calls[1][-1].text
    assert config.Config(pipeline.config()).build(Pipeline) == pipeline  # the schema is part of what is run


def test_pydantic_models_that_cannot_be_had(installed, monkeypatch):
    for found, says in ((ImportError("no cheese"), "does not import: no cheese"), (dict, "is no pydantic model")):
        installed(found)
        with pytest.raises(ConfigError, match=says):
            made(json_schema=None, pydantic_model="invoice")
    with pytest.raises(ConfigError, match="did you mean 'invoice'"):
        made(json_schema=None, pydantic_model="invoce")
    with pytest.raises(ConfigError, match=r"unknown pydantic model 'os\.path:join'"):
        made(json_schema=None, pydantic_model="os.path:join")
    installed()
    with pytest.raises(ConfigError, match="differs from the schema of pydantic_model invoice"):
        made(pydantic_model="invoice")


def test_a_schema_in_a_file_becomes_part_of_the_pipeline(tmp_path):
    path = tmp_path / "person.json"
    path.write_text(json.dumps(PERSON))
    assert made(json_schema=str(path)) == made()
    path.write_text("{]")
    with pytest.raises(ConfigError, match=r"person.json cannot be read"):
        made(json_schema=str(path))
    path.write_text("[]")
    with pytest.raises(ConfigError, match="no JSON object"):
        made(json_schema=str(path))
    with pytest.raises(ConfigError, match="cannot be read"):
        made(json_schema=str(tmp_path / "none.json"))
    with pytest.raises(ConfigError, match="give a json_schema"):
        made(json_schema=None)


def nested(depth):
    schema = {}
    for _ in range(depth):
        schema = {"items": schema}
    return schema


DOUBLING = {"$ref": "#/$defs/a0", "$defs": {
    **{f"a{n}": {"allOf": [{"$ref": f"#/$defs/a{n + 1}"}] * 2} for n in range(30)}, "a30": {}}}  # fmt: skip
TREE = {"$defs": {"n": {"properties": {"a": {"anyOf": [{"$ref": "#/$defs/n"}, {"$ref": "#/$defs/n", "minProperties": 9}]}},
        "required": ["z"]}}, "$ref": "#/$defs/n"}  # fmt: skip


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ({"$ref": "https://example.org/s.json"}, "a reference must stay in the schema"),
        ({"properties": {"a": {"$ref": "file:///etc/passwd"}}}, r"\$.properties.a.\$ref"),
        ({"$ref": "#/$defs/none"}, "leads to nothing"),
        ({"$dynamicRef": "#node"}, "references are JSON pointers"),
        ({"properties": {"a": {"$id": "https://example.org"}}}, r"\$id is not supported"),
        ({"$ref": "#"}, "leads back to itself"),
        ({"anyOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"not": {"$ref": "#"}}}}, "leads back to itself"),
        (DOUBLING, "unfold into more than"),
        ({"pattern": "(?=a)b"}, "no regular expression of linear time"),
        ({"properties": {"x": {"pattern": "["}}}, r"\$.properties.x.pattern"),
        ({"pattern": "((a{1000}){1000}){1000}"}, "no regular expression of linear time"),
        ({"patternProperties": {"(a+)+$": {}}}, "name the properties"),
        (nested(40), "nested deeper"),
        ({"enum": [{"a": {}}] * 5000}, "more than"),
        ({"type": "strnig"}, "not a JSON schema"),
    ],
)
def test_hostile_schemas_are_refused(schema, says):
    with pytest.raises(ConfigError, match=says):
        check_schema(schema)
    with pytest.raises(ConfigError, match=says):
        made(json_schema=schema)


def test_a_regular_expression_that_would_blow_up_elsewhere_is_matched_in_time():
    schema = {"pattern": r"^(a+)+$"}
    check_schema(schema)
    began = time.perf_counter()
    assert validation_errors(schema, "a" * 5000 + "!")
    assert validation_errors(schema, "a" * 5000) == []
    assert time.perf_counter() - began < 1


def test_checking_a_value_gives_up_in_time():
    check_schema(TREE)
    value = {}
    for _ in range(60):
        value = {"a": value}
    began = time.perf_counter()
    assert "nested too deeply" in validation_errors(TREE, value)[-1]
    assert time.perf_counter() - began < 5


@pytest.mark.parametrize("value", [1e400, 10**400, {"a": [1] * 1000}])
def test_any_number_is_checked(value):
    assert isinstance(validation_errors({"multipleOf": 1e-320, "uniqueItems": True}, value), list)


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))  # fmt: skip


@given(JSON)
def test_any_json_is_read_back_and_is_its_own_constant(value):
    assert read_json(json.dumps(value)) == value
    assert validation_errors({"const": value}, value) == []


def test_labels_are_read_strictly():
    def run(reply, **fields):
        step = {"type": "classify", "labels": ["praise", "complaint"], **fields}
        pipeline = config.Config({"name": "p", "model": "scripted:x", "steps": [step]}).build(Pipeline)
        return pipeline.with_models(lambda spec: ScriptedChat([reply])).run("It broke.").answer.text

    assert run("complaint") == run('"Complaint".') == run("Label: complaint") == "complaint"
    for reply in ("anger", "praise or complaint", "complaints"):
        with pytest.raises(StepError, match="names no label, or several"):
            run(reply)
    with pytest.raises(StepError, match="the model answered with no text"):
        run("")
    with pytest.raises(ConfigError, match="equals or contains another label"):
        run("x", labels=["a", "a"])
    with pytest.raises(ConfigError, match="one line that is not empty"):
        run("x", labels=["a", ""])


def test_shipped_pipelines():
    model = ScriptedChat(['{"who": "Ann", "what": "a pump", "date": "2026-05-01"}', "praise"])
    state = load_pipeline("structured").with_models(lambda spec: model).run("Ann bought a pump on 1 May 2026.")
    assert json.loads(state.answer.text)["date"] == "2026-05-01"
    assert load_pipeline("classify").with_models(lambda spec: model).run("Great!").answer.text == "praise"


class _Picky(ScriptedChat):
    """A server that knows no schemas and says so."""

    @property
    def _llm_type(self):
        return "openai-chat"

    def _stream(self, messages, stop=None, run_manager=None, **kwargs):
        if kwargs.get("response_format"):
            assert kwargs["response_format"]["json_schema"]["schema"] == PERSON
            raise ModelError("the server answered 400: response_format json_schema is not supported")
        yield from super()._stream(messages, stop, run_manager, **kwargs)


def test_a_runtime_that_does_not_take_the_schema_is_asked_without_it_and_that_is_told():
    state = made(_Picky([GOOD])).run("Ann is seven.")
    assert state.answer.text == GOOD
    assert any("does not accept the schema" in note for note in detail(state)["notes"])


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["llamacpp", "openvino"])
def test_a_local_model_is_held_to_the_schema(weights_home, runtime):
    overrides = [f"model={{model: local:smollm2, max_tokens: 96, runtime: {runtime}}}", "steps.structured.rounds=0"]
    state = load_pipeline("structured", overrides).run("On 2026-05-01 Ann Miller bought a pump for her mill.")
    assert set(json.loads(state.answer.text)) == {"who", "what", "date"}
    assert detail(state)["constrained"] is True
    if runtime == "openvino":
        return
    labels = load_pipeline("classify", overrides[:1]).run("Thank you, the pump works very well!")
    assert labels.answer.text in {"question", "request", "complaint", "praise", "other"}
