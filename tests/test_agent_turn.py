"""The calls of one reply: their order, what the budget admits, what is recorded."""

from __future__ import annotations

import threading

import pytest

from llmkit.agents.tool import Arguments, Output, Tool
from llmkit.agents.turn import Turn
from llmkit.errors import Cancelled
from llmkit.models.scripted import ScriptedChat
from llmkit.part import Part
from llmkit.pipeline import Pipeline

LOG: list = []
LAST_BEGAN = threading.Event()
CALLS = [("a", "first"), ("b", "second"), ("b", "third"), ("a", "last")]


class Box(Part):
    """Two tools that log when they run; the call "first" waits until the call "last" runs, where both can."""

    family = "tool"
    type = "box"
    writes: bool
    """Whether the tools have side effects."""

    def tools(self):
        schema = Arguments().text("name", "which").schema
        return tuple(Tool(name, name, schema, _call, side_effects=self.writes, untrusted=False) for name in "ab")


def _call(given, ctx):
    name = given["name"]
    LOG.append(("begin", name))
    if name == "first":
        LAST_BEGAN.wait(1.0)
    if name == "last":
        LAST_BEGAN.set()
    LOG.append(("end", name))
    return Output(name)


def ask(calls, *, writes, **step):
    LOG.clear()
    LAST_BEGAN.clear()
    wanted = [
        {"name": tool, "args": {"name": name}, "id": f"c{n}", "type": "tool_call"}
        for n, (tool, name) in enumerate(calls)
    ]
    steps = [{"type": "agent", "tools": [Box(writes=writes)], **step}]
    pipeline = Pipeline.model_validate({"name": "x", "model": "scripted:x", "steps": steps})
    state = pipeline.with_models(lambda _: ScriptedChat([{"tool_calls": wanted}, "Done."])).run("Go.")
    return [one for one in state.records[0].detail["trace"] if one["kind"] == "tool"]


def test_calls_with_side_effects_are_made_one_after_the_other():
    trace = ask(CALLS, writes=True)
    assert [(when, name) for _, name in CALLS for when in ("begin", "end")] == LOG
    assert [one["result"] for one in trace] == [name for _, name in CALLS]


def test_calls_without_side_effects_run_together_and_are_recorded_in_order():
    trace = ask(CALLS, writes=False)
    assert LOG.index(("begin", "last")) < LOG.index(("end", "first"))
    assert [one["result"] for one in trace] == [name for _, name in CALLS]


@pytest.mark.parametrize("writes", [False, True])
def test_the_budget_admits_the_first_calls(writes):
    trace = ask([("a", f"x{n}") for n in range(20)], writes=writes, budget={"tool_calls": 6})
    assert [one["status"] for one in trace] == ["ok"] * 6 + ["over budget"] * 14
    assert sorted(name for when, name in LOG if when == "begin") == [f"x{n}" for n in range(6)]


def test_a_call_that_ends_the_run_lets_no_other_wait_for_ever():
    turn = Turn(["a", "b"], 2, in_order=True)
    turn.finish("a", failed=True)
    with pytest.raises(Cancelled):
        turn.wait_for_earlier("b", lambda: None)

    def gone():
        raise Cancelled("the listener has gone")

    with pytest.raises(Cancelled, match="listener"):
        Turn(["a", "b"], 2, in_order=True).wait_for_earlier("b", gone)
