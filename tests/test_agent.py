"""The agent step: budgets, stalls, partial answers, the record, models and tools that misbehave. All scripted."""

from __future__ import annotations

import json
import time

import pytest
from langchain_core.messages import AIMessage

from llmkit import config
from llmkit.agents.tool import Arguments, Output, Tool
from llmkit.errors import ConfigError, ModelError, StepError
from llmkit.knowledge.knowledge_base import KnowledgeBase
from llmkit.models.scripted import ScriptedChat
from llmkit.part import Part
from llmkit.pipeline import Pipeline
from llmkit.types import Message


def call(name, n=1, **arguments):
    return {"name": name, "args": arguments, "id": f"c{n}", "type": "tool_call"}


def using(*calls, text=""):
    return {"content": text, "tool_calls": list(calls)}


def pipeline(script, *more, tools=("calculator",), **step):
    steps = [{"type": "agent", "tools": list(tools), **step}, *more]
    found = Pipeline.model_validate({"name": "x", "model": "scripted:x", "steps": steps})
    model = ScriptedChat(script)
    return found.with_models(lambda spec: model), model


def ask(script, *more, tools=("calculator",), **step):
    found, _ = pipeline(script, *more, tools=tools, **step)
    state = found.run("What?")
    return state, state.records[0].detail


class Odd(Part):
    """A tool that does what its test says."""

    family = "tool"
    type = "odd"
    name: str = "odd"
    """Its name."""

    def tools(self):
        return (Tool(self.name, "Odd.", Arguments().text("q", "x").schema, DOES[self.name]),)


DOES: dict = {}


def odd(name, function):
    DOES[name] = function
    return Odd(name=name)


def test_thoughts_calls_results_and_tokens_are_in_the_record():
    state, detail = ask([using(call("calculator", expression="12 * 7"), text="I compute."), "84."])
    assert state.answer.text == "84."
    assert (detail["stopped"], detail["partial"], detail["model_calls"], detail["tool_calls"]) == (
        "answered",
        False,
        2,
        1,
    )
    thought, result, last = detail["trace"]
    assert (thought["kind"], thought["text"]) == ("model", "I compute.")
    assert thought["calls"] == [{"id": "c1", "name": "calculator", "arguments": {"expression": "12 * 7"}}]
    assert (result["status"], result["result"], result["call"]) == ("ok", "84", "c1")
    assert last["text"] == "84."
    assert state.usage.calls == 2
    assert state.usage.input_tokens == sum(one["input_tokens"] for one in (thought, last)) > 0
    json.dumps(detail)


def test_searches_are_cited_numbered_through_and_checked(tmp_path):
    (tmp_path / "a.md").write_text("# Pump\n\nThe pump costs 14 euros.\n")
    (tmp_path / "b.md").write_text("# Depot\n\nThe depot is in Arlen.\n")
    from llmkit.encoders.hashing import HashingEncoder

    kb = KnowledgeBase.create(tmp_path / "kb", encoder=HashingEncoder())
    kb.ingest([tmp_path / "a.md", tmp_path / "b.md"])
    script = [
        using(call("search", 1, query="pump costs")), using(call("search", 2, query="depot")),
        "The pump costs 14 euros [1]. The depot is in Arlen [3]. It is blue [9].",
    ]  # fmt: skip
    found, model = pipeline(script, "ground", tools=[{"type": "search", "k": 2, "retriever": "bm25"}, "calculator"])
    state = found.with_knowledge(kb).run("Where and how much?")
    numbers = [int(n) for one in state.records[0].detail["trace"] for n in one.get("passages", ())]
    assert numbers == list(range(1, len(state.hits) + 1))
    shown = model.calls[1][-1].content
    assert shown.startswith("<<<\n[1] Pump")
    cited = {one.n: one.supported for one in state.answer.citations}
    assert cited[1] is True
    assert cited.get(9, False) is False
    assert any("blue" in one for one in state.answer.unsupported)
    kb.close()


class TestLimits:
    def test_the_same_call_with_the_same_result_is_stopped_by_the_third_time(self):
        made = []
        tool = odd("same", lambda given, ctx: made.append(1) or Output("nothing new"))
        state, detail = ask(lambda m: using(call("same", q="x"), text="Hm."), tools=[tool])
        assert len(made) == 2
        assert (detail["stopped"], detail["partial"]) == ("stalled", True)
        assert [one["status"] for one in detail["trace"] if one["kind"] == "tool"] == ["ok", "ok", "stalled"]
        assert state.answer.text == "Hm."
        assert any("stalled" in note for note in detail["notes"])

    def test_a_call_whose_result_changes_is_no_stall(self):
        made = []
        tool = odd("counting", lambda given, ctx: made.append(1) or Output(str(len(made))))
        script = [*[using(call("counting", n, q="x")) for n in range(4)], "Four."]
        state, detail = ask(script, tools=[tool])
        assert (state.answer.text, detail["stopped"]) == ("Four.", "answered")

    def test_at_the_last_model_call_it_is_told_to_answer(self):
        def script(messages):
            if "No more tools" in messages[-1].content:
                return "At least 3."
            return using(call("calculator", expression=f"{len(messages)} + 1"))

        state, detail = ask(script, budget={"model_calls": 3})
        assert (state.answer.text, detail["stopped"], detail["model_calls"]) == ("At least 3.", "model calls", 3)
        assert detail["partial"]

    def test_a_model_that_calls_on_gets_no_more_and_its_last_result_is_the_answer(self):
        state, detail = ask(
            lambda m: using(call("calculator", expression=f"{len(m)} * 2")), budget={"model_calls": 3, "tool_calls": 9}
        )
        assert state.answer.text == "Not finished. The last result, of calculator: 8"
        assert detail["trace"][-1]["ignored"]
        assert detail["tool_calls"] == 2

    def test_tool_calls(self):
        many = [call("calculator", n, expression=f"{n} + 0") for n in range(50)]
        state, detail = ask([using(*many), "Done."], budget={"tool_calls": 5})
        assert detail["counts"] == {"over budget calls": 45}
        assert (state.answer.text, detail["stopped"]) == ("Done.", "tool calls")

    def test_tokens_and_seconds(self):
        loop = lambda m: using(call("calculator", expression=f"{len(m)} + 1"), text="Thinking.")  # noqa: E731
        state, detail = ask(loop, budget={"tokens": 150})
        assert detail["stopped"] == "tokens"
        assert state.answer.text.startswith("Not finished. The last result, of calculator:")
        slow = odd("slow", lambda given, ctx: time.sleep(0.3) or Output("x"))
        _, detail = ask(lambda m: using(call("slow", q=str(len(m)))), tools=[slow], budget={"seconds": 0.2})
        assert detail["stopped"] == "seconds"

    def test_never_the_frameworks_text(self):
        for budget in ({"model_calls": 1}, {"model_calls": 2}, {"tool_calls": 0}, {"tokens": 1}):
            state, _ = ask(lambda m: using(call("calculator", expression=f"{len(m)} + 1")), budget=budget)
            assert "limit" not in state.answer.text.lower()
            assert state.answer.abstained or state.answer.text.startswith("Not finished")


class TestModels:
    def test_that_says_nothing_is_asked_once_more(self):
        state, detail = ask(["", "6."])
        assert (state.answer.text, detail["counts"]) == ("6.", {"empty replies": 1})
        state, detail = ask([using(call("calculator", expression="2 * 3")), "", " ", "never asked"])
        assert state.answer.text == "Not finished. The last result, of calculator: 6"
        assert (detail["stopped"], detail["partial"], detail["model_calls"]) == ("empty replies", True, 3)
        with pytest.raises(StepError, match=r"answered with no text.*It was asked twice"):
            ask(["", " ", "never asked"])

    def test_that_refuses_is_quoted(self):
        with pytest.raises(StepError, match="the model refused to answer: I would rather not"):
            ask([{"refusal": "I would rather not."}])

    def test_that_calls_an_unknown_tool_is_told_the_known_ones(self):
        _, detail = ask([using(call("calculater", expression="1")), "Sorry."])
        assert detail["trace"][1]["status"] == "unknown"
        assert "did you mean 'calculator'" in detail["trace"][1]["result"]

    def test_that_gives_malformed_arguments_is_told_so(self):
        broken = AIMessage(
            "", invalid_tool_calls=[{"name": "calculator", "args": '{"expr', "id": None, "error": "x", "type": "invalid_tool_call"}]
        )  # fmt: skip
        _, detail = ask(
            [broken, using(call("calculator", n=2)), using(call("calculator", n=2, expression=4)), "Sorry."]
        )
        results = [one for one in detail["trace"] if one["kind"] == "tool"]
        assert [one["status"] for one in results] == ["malformed"] * 3
        assert "not JSON" in results[0]["result"]
        assert "'expression' is a required property" in results[1]["result"]
        assert len({one["call"] for one in results}) == 3

    def test_that_fails_is_an_error_of_the_step(self):
        with pytest.raises(StepError, match="planned"):
            ask([ModelError("planned")])

    def test_without_tools_is_refused(self):
        from langchain_core.language_models import FakeListChatModel

        found, _ = pipeline([])
        with pytest.raises(StepError, match="cannot call tools"):
            found.with_models(lambda spec: FakeListChatModel(responses=["x"])).run("?")


class TestTools:
    def test_that_raise_hang_or_flood_are_results_and_counted(self):
        import threading

        go = threading.Event()
        tools = [
            odd("bad", lambda given, ctx: 1 / 0), odd("stuck", lambda given, ctx: go.wait(30) and Output("late")),
            odd("flood", lambda given, ctx: Output("x" * 50_000_000)), odd("raw", lambda given, ctx: Output(b"\0" * 1000)),
        ]  # fmt: skip
        first = using(call("bad", 1, q="x"), call("stuck", 2, q="x"), call("flood", 3, q="x"), call("raw", 4, q="x"))
        state, detail = ask([first, using(call("stuck", 5, q="y")), "Well."], tools=tools, seconds=0.3)
        go.set()
        by_call = {one["call"]: one for one in detail["trace"] if one["kind"] == "tool"}
        assert by_call["c1"]["result"] == "<<<\nbad failed: ZeroDivisionError: division by zero\n>>>"
        assert by_call["c2"]["status"] == "hung"
        assert by_call["c3"]["dropped"] == 50_000_000 - 4000
        assert "not text" in by_call["c4"]["result"]
        assert by_call["c5"]["status"] == "refused"
        assert detail["counts"]["characters not shown"] == 50_000_000 - 4000 + 1000
        assert state.answer.text == "Well."

    def test_two_of_one_name_or_approval_of_none_is_a_mistake(self):
        with pytest.raises(StepError, match="two tools are called 'calculator'"):
            ask(["x"], tools=["calculator", "calculator"])
        with pytest.raises(StepError, match="there is no tool writ"):
            ask(["x"], approve=["writ"])
        with pytest.raises(ConfigError, match=r"unknown tool type 'calculater'; did you mean 'calculator'"):
            config.parse("name: x\nsteps:\n  - {type: agent, tools: [calculater]}\n").build(Pipeline)

    def test_old_results_are_left_out_where_the_window_is_small(self):
        class Small(ScriptedChat):
            context: int = 900
            max_tokens: int = 100

        tool = odd("long", lambda given, ctx: Output("word " * 250))
        script = [*[using(call("long", n, q=str(n))) for n in range(3)], "Done."]
        found, _ = pipeline(script, tools=[tool])
        model = Small(script)
        state = found.with_models(lambda spec: model).run("?")
        assert state.records[0].detail["counts"]["shortened results"] > 0
        assert "left out" in model.calls[-1][3].content
        assert "word word" in model.calls[-1][-1].content


def test_history_stands_before_the_question():
    found, model = pipeline(["Yes."])
    found.run("And now?", history=[Message("user", "Hello"), Message("assistant", "Hi.")])
    assert [(one.type, one.content) for one in model.calls[0][1:]] == [
        ("human", "Hello"),
        ("ai", "Hi."),
        ("human", "And now?"),
    ]


def test_calls_are_told_as_they_happen():
    found, _ = pipeline([using(call("calculator", expression="2 + 2")), "4."])
    events = list(found.stream("?"))
    assert "calculator(expression='2 + 2')" in [one.text for one in events if one.data.get("tool")]
    assert events[-1].data["state"].answer.text == "4."


def test_a_reader_that_goes_stops_the_work():
    made = []
    tool = odd("going", lambda given, ctx: made.append(1) or Output(str(len(made))))
    found, model = pipeline(
        lambda m: using(call("going", q=str(len(m)))), tools=[tool], budget={"model_calls": 500, "tool_calls": 500}
    )
    stream = found.stream("?")
    next(event for event in stream if event.data.get("tool"))
    stream.close()
    assert len(model.calls) < 20
    assert len(made) < 20


def test_a_run_can_be_replayed_from_its_trace():
    """Times differ from run to run; a replay compares everything else."""
    from llmkit.evaluation.runs.trace import comparable, state_row

    first, _ = ask([using(call("calculator", expression="2 + 2")), "4."])
    again, _ = ask([using(call("calculator", expression="2 + 2")), "4."])
    assert comparable(state_row(first)) == comparable(state_row(again))
