"""Every behaviour of a server, at every place in llmkit that asks a model: the right thing, or what went wrong."""

from __future__ import annotations

import json
import re

import openai
import pytest
from serving import running

from llmkit import config
from llmkit.encoders.hashing import HashingEncoder
from llmkit.errors import DataError, LlmkitError
from llmkit.evaluation.metrics.judge import Judge
from llmkit.evaluation.runs.plan import plan
from llmkit.evaluation.runs.run import evaluate
from llmkit.evaluation.tasks.task import Task
from llmkit.knowledge.knowledge_base import KnowledgeBase
from llmkit.models.ask import ask_model
from llmkit.models.chat import load_chat
from llmkit.pipeline import Pipeline
from llmkit.pipeline.chat.session import ChatSession
from llmkit.pipeline.chat.session_store import SessionStore
from llmkit.testing import Asked, ReplyServer, ReplySuite
from llmkit.testing.reply_behaviours import BEHAVIOURS
from llmkit.testing.reply_suite import behaviours
from llmkit.training.synthetic.llm_questions import by_model
from llmkit.types import Answer, Chunk, Document, Hit, Message, Sample, State

pytestmark = pytest.mark.network

FACT = "The Kestrel pump costs 140 euros \U0001f600."
QUESTION = "What does the Kestrel pump cost?"


@pytest.fixture(scope="module")
def kb(tmp_path_factory):
    with KnowledgeBase.create(tmp_path_factory.mktemp("replies") / "kb", encoder=HashingEncoder()) as kb:
        kb.add([Document("pump", f"{FACT} It weighs 12 kg.", title="Kestrel pump")])
        yield kb


def run(steps, model, kb=None, question=QUESTION, **given):
    pipeline = Pipeline.model_validate({"name": "x", "model": model, "steps": steps})
    if kb is not None:
        pipeline = pipeline.with_knowledge(kb)
    events = []
    state = pipeline.run(question, on_event=events.append, **given)
    notes = [note for record in state.records for note in record.detail.get("notes", ())]
    assert set(notes) <= {event.text for event in events if event.kind == "note"}
    shown = "".join(event.text for event in events if event.kind == "token")
    return state, Asked(state.answer.text if state.answer else "", notes), shown


class TestClient(ReplySuite):
    TEXT = FACT

    def ask(self, model):
        reply = ask_model(load_chat(model), [Message("user", QUESTION)])
        assert reply.usage.calls == 1
        return Asked(reply.text, reply.warnings)


class TestClientStreaming(ReplySuite):
    TEXT = FACT

    def ask(self, model):
        told = []
        reply = ask_model(load_chat(model), [Message("user", QUESTION)], on_token=told.append)
        if not any("opening tag" in note for note in reply.warnings):
            assert "".join(told).strip() == reply.text
        return Asked(reply.text, reply.warnings)


class TestAnswer(ReplySuite):
    TEXT = f"{FACT[:-1]} [1]."

    @pytest.fixture(autouse=True)
    def _kb(self, kb):
        self.kb = kb

    def ask(self, model):
        state, asked, _ = run([{"type": "retrieve", "retriever": "bm25"}, "answer", "ground"], model, self.kb)
        assert not state.answer.abstained, "no reply is no abstention"
        assert state.records[1].detail["finish_reason"] == state.answer.finish_reason
        if not state.answer.complete:
            assert state.answer.unsupported, "an answer that was cut off is certified"
        return asked


class TestGenerate(ReplySuite):
    TEXT = FACT

    def ask(self, model):
        _, asked, shown = run(["generate"], model)
        if not any("opening tag" in note for note in asked.notes):
            assert shown.strip() == asked.text
        return asked


class TestChat(ReplySuite):
    TEXT = FACT

    @pytest.fixture(autouse=True)
    def _store(self, tmp_path):
        with SessionStore(tmp_path / "chat.sqlite") as self.store:
            yield

    def ask(self, model):
        pipeline = Pipeline.model_validate({"name": "x", "model": model, "steps": ["generate"]})
        session = ChatSession(pipeline, self.store, model["model"].replace(":", " "))
        before = len(session.turns)
        try:
            state = session.ask(QUESTION)
        except LlmkitError:
            assert len(session.turns) == before
            plain = pipeline.replace(model=self.spec("plain"))
            session = ChatSession(plain, self.store, session.name)  # and the conversation goes on
            session.ask(QUESTION)
            raise
        assert len(ChatSession(pipeline, self.store, session.name).turns) == before + 1
        return Asked(state.answer.text, state.records[0].detail.get("notes", ()))


class TestStructured(ReplySuite):
    TEXT = '{"who": "Kestrel \U0001f600", "what": "a pump"}'
    UNUSED = "no JSON of the schema"

    def ask(self, model):
        text = {"type": "string"}
        schema = {"type": "object", "properties": {"who": text, "what": text}, "required": ["who", "what"]}
        state, asked, _ = run([{"type": "structured", "json_schema": schema, "rounds": 1}], model)
        assert json.loads(state.answer.text)
        return asked


class TestClassify(ReplySuite):
    TEXT = "complaint"
    UNUSED = "names no label"

    def ask(self, model):
        _, asked, _ = run([{"type": "classify", "labels": ["praise", "complaint"], "constrain": False}], model)
        return asked


class TestCritic(ReplySuite):
    """A critic whose reply cannot be used changes nothing."""

    TEXT = "SCORE: 10\nACCEPT: yes\nFEEDBACK: fine \U0001f600"
    FALLBACK = "A pump."
    UNUSED = "could not be read"

    def ask(self, model):
        steps = [{"type": "generate", "model": "scripted:A pump."}, "refine"]
        return run(steps, model)[1]


class TestReviser(ReplySuite):
    """A revision that cannot be used is not the answer."""

    TEXT = FACT
    FALLBACK = "A pump."

    def ask(self, model):
        critic = "scripted:SCORE: 1\nACCEPT: no\nFEEDBACK: Say more."
        steps = [{"type": "generate", "model": "scripted:A pump."},
                 {"type": "refine", "critic": critic, "rounds": 1}]  # fmt: skip
        state, asked, _ = run(steps, model)
        drafts = [one["draft"] for one in state.records[1].detail["rounds"]]
        return Asked(drafts[1] or "A pump.", asked.notes)


class TestCondense(ReplySuite):
    TEXT = "What does the Kestrel pump cost \U0001f600?"
    FALLBACK = "And its price?"

    def ask(self, model):
        history = [Message("user", "What is the Kestrel pump?"), Message("assistant", "A pump.")]
        steps = [{"type": "condense", "by": "model"}, {"type": "generate", "model": "scripted:Fine."}]
        state, asked, _ = run(steps, model, question="And its price?", history=history)
        return Asked(state.question, asked.notes)


class TestRewriter(ReplySuite):
    TEXT = "1. the price of the pump\n2. Kestrel euros \U0001f600"
    FALLBACK = ""

    @pytest.fixture(autouse=True)
    def _kb(self, kb):
        self.kb = kb

    def ask(self, model):
        state, asked, _ = run([{"type": "retrieve", "rewriter": "multi-query"}], model, self.kb)
        queries = [one["query"] for one in state.records[0].detail["queries"]]
        return Asked(" | ".join(queries[1:]), asked.notes)


class TestSamples(ReplySuite):
    TEXT = "It is 140 euros \U0001f600."

    def ask(self, model):
        steps = [{"type": "self-consistency", "samples": 2, "temperature": 0.5}]
        return run(steps, model)[1]


class TestJudge(ReplySuite):
    """A vote that was not cast counts for nobody."""

    FALLBACK = "unscored"
    UNUSED = "could not be read"

    def answer(self, body):
        said = body["messages"][-1]["content"]
        return "A" if "A: The evidence supports" in said else "B"

    def ask(self, model):
        hit = Hit(Chunk("pump", 0, 0, len(FACT), FACT, 9), 1.0)
        state = State(QUESTION, hits=(hit,), answer=Answer(FACT))
        score = Judge(model=model, votes=2).score(Sample("1", QUESTION), state)["judged"]
        return Asked("unscored" if score.value is None else str(score.value), [score.reason])

    def check(self, server, behaviour):
        if behaviour.outcome == "told":
            pytest.skip("a letter that is followed by nothing is a vote, however the reply ended")
        super().check(server, behaviour)


class TestQuestions(ReplySuite):
    TEXT = f"Q: What does the Kestrel pump cost?\nA: {FACT}"
    FALLBACK = ""
    UNUSED = "gave no reply|did not finish|another form"

    def ask(self, model):
        chunk = Chunk("pump", 0, 0, len(FACT), FACT, 9)
        questions, left = by_model([chunk], load_chat(model), per_passage=3)
        return Asked(" | ".join(one.text for one in questions), [f"{name}: {count}" for name, count in left.items()])


class TestAgent(ReplySuite):
    TEXT = FACT

    def ask(self, model):
        state, asked, _ = run([{"type": "agent", "tools": ["calculator"]}], model)
        assert not state.answer.abstained
        counts = state.records[0].detail["counts"]
        endings = {
            "replies cut off at max_tokens": "cut off at the model's max_tokens",
            "replies cut off by a content filter": "content filter cut the reply off",
            "replies without a finish reason": "did not say how the reply ended",
        }
        return Asked(asked.text, [*asked.notes, *(words for name, words in endings.items() if name in counts)])


class TestAgentCalls(ReplySuite):
    TEXT = "Six cost 840 euros."

    @pytest.mark.parametrize("behaviour", behaviours("call"))
    def test_the_right_thing_or_what_went_wrong(self, server, behaviour):
        state, asked, _ = run([{"type": "agent", "tools": ["calculator"]}], self.spec(behaviour.name))
        detail = state.records[0].detail
        tools = [one for one in detail["trace"] if one["kind"] == "tool"]
        assert asked.text == self.TEXT
        assert tools, detail
        assert "SECRET" not in json.dumps([one["text"] for one in detail["trace"] if one["kind"] == "model"])
        if behaviour.outcome == "right":
            assert {one["status"] for one in tools} == {"ok"}
            assert tools[0]["result"] == "840"
            assert len(tools) == (2 if behaviour.name.startswith("calls-") else 1)
        else:
            assert tools[0]["status"] in ("malformed", "unknown")
            assert re.search(behaviour.says, tools[0]["result"]), tools[0]["result"]

    @pytest.mark.parametrize("behaviour", behaviours("call"))
    def test_a_stream_holds_the_same_calls(self, server, behaviour):
        chat = load_chat(self.spec(behaviour.name)).bind_tools([CALCULATOR])
        whole, streamed = (
            ask_model(chat, [Message("user", "?")], tools=["calculator"], on_token=listener, require="anything")
            for listener in (None, lambda _: None)
        )
        assert [(one.name, one.arguments, bool(one.problem)) for one in streamed.tool_calls] == [
            (one.name, one.arguments, bool(one.problem)) for one in whole.tool_calls
        ]


CALCULATOR = {
    "type": "function",
    "function": {
        "name": "calculator",
        "description": "Calculates.",
        "parameters": {"type": "object", "properties": {"expression": {"type": "string"}}},
    },
}


class TestEvaluation(ReplySuite):
    TEXT = FACT

    @pytest.fixture(autouse=True)
    def _task(self, tmp_path):
        row = {"id": "one", "question": QUESTION, "answers": ["140"]}
        (tmp_path / "questions.jsonl").write_text(json.dumps(row))
        values = {"name": "costs", "knowledge": "none", "metrics": ["answer", "abstention"], "fail_on_error": 1.0,
                  "retries": 0, "dataset": {"type": "rows", "path": str(tmp_path / "questions.jsonl")}}  # fmt: skip
        self.task, self.runs = config.Config(values).build(Task), tmp_path / "runs"

    def ask(self, model):
        pipeline = Pipeline.model_validate({"name": "x", "model": model, "steps": ["generate"]})
        planned = plan(pipeline, self.task, self.runs, cache=False)
        try:
            folder = evaluate(planned)
        except DataError as error:  # every sample failed the same way, which ends the run
            raise LlmkitError(str(error)) from error
        (row,) = folder.scores()
        if row["status"] == "error":
            raise LlmkitError(row["error"])
        assert row["scores"].get("refused", 0.0) == 0.0, "no reply is no abstention"
        (trace,) = folder.traces()
        notes = [note for record in trace["state"]["records"] for note in record["detail"].get("notes", ())]
        return Asked(trace["state"]["answer"]["text"], notes)


@pytest.fixture(scope="module")
def served_behaviours(tmp_path_factory):
    """One llmkit server over the scripted one, with a pipeline for each behaviour."""
    with ReplyServer(lambda body: FACT) as upstream:
        pipelines = {
            name: {"steps": ["generate"], "model": {
                "model": f"openai:{name}", "retries": one.retries, "timeout": 0.4 if "silent" in one.says else 30.0,
            }}
            for name, one in BEHAVIOURS.items() if one.kind == "reply"
        }  # fmt: skip
        with running(tmp_path_factory.mktemp("served"), pipelines=pipelines, load=load_chat) as served:
            with openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0, timeout=60) as client:
                yield upstream, client


class TestServe(ReplySuite):
    TEXT = FACT

    @pytest.fixture
    def server(self, served_behaviours, monkeypatch):
        upstream, self.client = served_behaviours
        monkeypatch.setenv("OPENAI_BASE_URL", upstream.url)
        return upstream

    def ask(self, model):
        name = model["model"].removeprefix("openai:")
        try:
            done = self.client.chat.completions.create(model=name, messages=[{"role": "user", "content": QUESTION}])
        except openai.APIStatusError as error:
            raise LlmkitError(error.message) from error
        extension = done.model_extra["llmkit"]
        (choice,) = done.choices
        if choice.message.refusal:
            raise LlmkitError(" | ".join([choice.message.refusal, *extension["notes"]]))
        if not choice.message.content:
            raise LlmkitError(" | ".join(extension["notes"]))
        return Asked(choice.message.content, extension["notes"])
