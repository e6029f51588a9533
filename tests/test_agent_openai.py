"""An agent on an OpenAI-compatible server: its tools, its results and the last word go over the wire as they should."""

from __future__ import annotations

import json

import pytest
from conftest import Reply

from llmkit.pipeline import Pipeline

pytestmark = pytest.mark.network


def reply(**message) -> Reply:
    body = {
        "id": "1", "object": "chat.completion", "created": 0, "model": "m",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": None, **message}}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
    }  # fmt: skip
    return Reply(json.dumps(body).encode())


def calling(arguments: str) -> Reply:
    return reply(
        tool_calls=[{"id": "a1", "type": "function", "function": {"name": "calculator", "arguments": arguments}}]
    )


def ask(loopback, monkeypatch, replies, **step):
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    left = list(replies)
    loopback.answer = lambda body: left.pop(0)
    steps = [{"type": "agent", "tools": ["calculator"], **step}]
    return Pipeline.model_validate({"name": "x", "model": "openai:m", "steps": steps}).run("12 * 7?")


def test_tools_are_offered_called_and_answered(loopback, monkeypatch):
    state = ask(loopback, monkeypatch, [calling('{"expression": "12 * 7"}'), reply(content="84.")])
    assert state.answer.text == "84."
    first, second = loopback.bodies
    assert first["tools"][0]["function"]["name"] == "calculator"
    assert second["messages"][-1]["content"] == "84"
    assert second["messages"][-1]["tool_call_id"] == second["messages"][-2]["tool_calls"][0]["id"] == "a1"
    assert (state.usage.input_tokens, state.usage.output_tokens, state.usage.calls) == (20, 10, 2)


def test_arguments_that_are_not_json_are_answered_and_go_on(loopback, monkeypatch):
    state = ask(loopback, monkeypatch, [calling("12 * 7"), calling('{"expression": "12 * 7"}'), reply(content="84.")])
    assert state.answer.text == "84."
    statuses = [one["status"] for one in state.records[0].detail["trace"] if one["kind"] == "tool"]
    assert statuses == ["malformed", "ok"]


def test_the_last_call_is_made_without_tools(loopback, monkeypatch):
    replies = [calling('{"expression": "12 * 7"}'), reply(content="At least 80.")]
    state = ask(loopback, monkeypatch, replies, budget={"model_calls": 2})
    assert loopback.bodies[-1]["tool_choice"] == "none"
    assert "No more tools" in loopback.bodies[-1]["messages"][-1]["content"]
    assert state.records[0].detail["partial"]
