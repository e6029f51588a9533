"""A reply as llmkit reads it: text, reasoning, tool calls, refusal, how it ended; and what is asked of it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, AIMessageChunk

from llmkit.errors import EmptyReply, IncompleteReply, ModelError, ModelRefusal
from llmkit.models.ask import ask_model
from llmkit.models.scripted import ScriptedChat
from llmkit.replies import Reply, read_message
from llmkit.replies.characters import CharacterJoiner, join_halves
from llmkit.replies.reasoning import ReasoningFilter, split_reasoning
from llmkit.types import Message

STOP = {"finish_reason": "stop"}


def read(content="", tools=(), reason="stop", **fields):
    return read_message(AIMessage(content, response_metadata={"finish_reason": reason}, **fields), tools)


class TestReasoning:
    @pytest.mark.parametrize(
        ("content", "text", "reasoning"),
        [
            ("Valves rust.", "Valves rust.", ""),
            ("<think>Is it so?</think>\n\nValves rust.", "Valves rust.", "Is it so?"),
            ("\n<THINK>Is it so?</think>Valves rust.", "Valves rust.", "Is it so?"),
            ("<think></think>\nValves rust.", "Valves rust.", ""),
            ("<think>one</think>\n<think>two</think>\nValves rust.", "Valves rust.", "one\ntwo"),
            ("[THINK]Is it so?[/THINK]Valves rust.", "Valves rust.", "Is it so?"),
            ("<seed:think>Is it so?</seed:think>Valves rust.", "Valves rust.", "Is it so?"),
            ("<think>It never ends", "", "It never ends"),
            ("They rust, I read.\n</think>\n\nValves rust.", "Valves rust.", "They rust, I read."),
            ("Write `</think>` to close it.", "Write `</think>` to close it.", ""),
            ("The tag <think> opens\n</think>\na block.", "The tag <think> opens\n</think>\na block.", ""),
            (
                "<|channel|>analysis<|message|>Is it so?<|end|><|start|>assistant<|channel|>final<|message|>Valves rust.",
                "Valves rust.",
                "Is it so?",
            ),
        ],
    )
    def test_a_block_at_the_beginning_is_taken_off(self, content, text, reasoning):
        reply = read(content)
        assert (reply.text, reply.reasoning) == (text, reasoning)

    def test_a_block_without_an_opening_tag_is_told(self):
        assert "without an opening tag" in read("Hm.\n</think>\nYes.").warnings[0]

    def test_fields_and_blocks_of_servers_are_reasoning(self):
        assert read("a", additional_kwargs={"reasoning_content": "why"}).reasoning == "why"
        assert read("a", additional_kwargs={"reasoning": "why"}).reasoning == "why"
        blocks = [{"type": "thinking", "thinking": "why"}, {"type": "text", "text": "a"}]
        assert (read(blocks).text, read(blocks).reasoning) == ("a", "why")

    @given(st.lists(st.integers(1, 7), max_size=12), st.sampled_from(["<think>Is it <b>so</b>?</think>\n\nYes, 1 < 2.",
           "Yes, 1 < 2 and <thin.", "<t", "<thinking>Is it?</thinking>\nYes.", "<think>open", " \n <think>a</think> b"]))  # fmt: skip
    def test_a_stream_is_split_as_the_whole_is(self, sizes, whole):
        pieces, rest = [], whole
        for size in sizes:
            pieces.append(rest[:size])
            rest = rest[size:]
        seen = ReasoningFilter()
        told = [*(seen.feed(piece) for piece in [*pieces, rest]), seen.finish()]
        split = split_reasoning(whole)
        assert "".join(text for text, _ in told).strip() == split.text.strip()
        assert "".join(thought for _, thought in told).strip() == split.reasoning


class TestCharacters:
    @given(st.text(st.sampled_from("aé漢😀🜁"), max_size=20), st.lists(st.integers(1, 4), max_size=30))
    def test_halves_are_joined_wherever_a_stream_is_cut(self, text, sizes):
        for units in (_utf16_units(text), _utf8_units(text)):
            joiner, out, rest = CharacterJoiner(), "", units
            for size in sizes:
                out += joiner.feed("".join(rest[:size]))
                rest = rest[size:]
            out += joiner.feed("".join(rest)) + joiner.finish()
            assert out == text
            assert joiner.replaced == 0

    def test_a_half_alone_is_replaced_and_counted(self):
        assert join_halves("a\ud83d b\ude00") == ("a\ufffd b\ufffd", 2, 0)
        reply = read("The pump \ud83d costs 3.")
        assert reply.text == "The pump \ufffd costs 3."
        assert reply.warnings == ("1 characters of the reply were broken and are shown as \ufffd",)
        reply.text.encode()


def _utf16_units(text):
    units = text.encode("utf-16-le")
    return [units[n : n + 2].decode("utf-16-le", "surrogatepass") for n in range(0, len(units), 2)]


def _utf8_units(text):
    return [bytes([one]).decode("utf-8", "surrogateescape") for one in text.encode()]


class TestToolCalls:
    @pytest.mark.parametrize(
        "text",
        [
            '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>',
            '<tool_call>{"name": "add", "arguments": "{\\"a\\": 1}"}',
            '<function=add>{"a": 1}</function>',
            "<tool_call>\n<function=add>\n<parameter=a>\n1\n</parameter>\n</function>\n</tool_call>",
            '[TOOL_CALLS][{"name": "add", "arguments": {"a": 1}}]',
            '<|python_tag|>{"name": "add", "parameters": {"a": 1}}',
            '{"name": "add", "arguments": {"a": 1}}',
            '```json\n{"name": "add", "parameters": {"a": 1}}\n```',
            '[{"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}]',
            '<think>I add.</think><tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>',
        ],
    )
    def test_calls_in_the_text_are_calls_where_tools_were_offered(self, text):
        reply = read(text, ["add"])
        assert [(call.name, dict(call.arguments), call.problem) for call in reply.tool_calls] == [("add", {"a": 1}, "")]
        assert reply.text == ""
        assert reply.finish_reason == "tool_calls"
        assert read(text).tool_calls == ()

    def test_words_around_a_call_stay_and_other_json_is_an_answer(self):
        reply = read('I add.\n<tool_call>{"name": "add", "arguments": {}}</tool_call>', ["add"])
        assert reply.text == "I add."
        for text in ('{"name": "Ann", "age": 7}', '{"name": "sub", "arguments": {}}', "[1, 2]", "{"):
            assert (read(text, ["add"]).text, read(text, ["add"]).tool_calls) == (text, ())
        (broken,) = read("<tool_call>add 1</tool_call>", ["add"]).tool_calls
        assert broken.problem == "the call is not JSON"

    @pytest.mark.parametrize(
        ("raw", "problem"),
        [('["1 + 1"]', "a list"), ("840", "a number"), ('"1 + 1"', "not JSON"), ('{"a": NaN}', "NaN is not JSON"),
         ('{"a": 1', "not JSON"), ("true", "true or false")],
    )  # fmt: skip
    def test_arguments_that_are_no_object_are_malformed(self, raw, problem):
        call = {"name": "add", "args": raw, "id": "1", "error": "x", "type": "invalid_tool_call"}
        (found,) = read(invalid_tool_calls=[call], reason="tool_calls").tool_calls
        assert problem in found.problem
        assert found.raw
        assert found.arguments == {}

    def test_a_call_that_was_cut_off_is_malformed(self):
        chunk = AIMessageChunk(
            content="",
            tool_call_chunks=[{"name": "write", "args": '{"text": "half a sen', "id": "1", "index": 0}],
            response_metadata={"finish_reason": "length"},
        )
        assert chunk.tool_calls[0]["args"] == {"text": "half a sen"}  # LangChain closes the text by itself
        (found,) = read_message(chunk).tool_calls
        assert "cut off" in found.problem


class TestEndings:
    @pytest.mark.parametrize(
        ("metadata", "reason"),
        [({"finish_reason": "stop"}, "stop"), ({"stop_reason": "end_turn"}, "stop"), ({"done_reason": "length"}, "length"),
         ({"finish_reason": "MAX_TOKENS"}, "length"), ({"finish_reason": "SAFETY"}, "content_filter"), ({}, "missing"),
         ({"finish_reason": None}, "missing"), ({"finish_reason": "tool_use"}, "tool_calls"), ({"finish_reason": "hm"}, "missing")],
    )  # fmt: skip
    def test_the_words_of_providers_are_known(self, metadata, reason):
        assert read_message(AIMessage("a", response_metadata=metadata)).finish_reason == reason

    def test_a_failure_that_is_told_as_an_ending_may_be_tried_again(self):
        with pytest.raises(ModelError, match="ended the reply with 'error'") as caught:
            read("a", reason="error")
        assert caught.value.retryable

    def test_what_is_asked_of_a_reply(self):
        assert Reply("a").as_whole().text == "a"
        with pytest.raises(ModelRefusal, match="refused to answer: I will not"):
            Reply(refusal="I will not").with_text()
        for reply, says in [
            (Reply(), "no text"),
            (Reply(finish_reason="content_filter"), "content filter"),
            (Reply(finish_reason="length", reasoning="hm"), "spent its max_tokens on its reasoning"),
            (Reply(reasoning="hm"), "reasoning only"),
        ]:
            with pytest.raises(EmptyReply, match=says):
                reply.with_text()
        for reason in ("length", "content_filter", "missing"):
            assert Reply("a", finish_reason=reason).with_text().ending
            with pytest.raises(IncompleteReply, match="the reply was not used"):
                Reply("a", finish_reason=reason).as_whole()


class TestAsking:
    def test_a_stream_hands_on_the_answer_and_the_reasoning_apart(self):
        script = [{"content": "<think>hm hm</think>\nValves rust \U0001f600.", "reasoning": "first"}]
        told: list[str] = []
        thoughts: list[str] = []
        reply = ask_model(
            ScriptedChat(script), [Message("user", "?")], on_token=told.append, on_reasoning=thoughts.append
        )
        assert "".join(told) == reply.text == "Valves rust \U0001f600."
        assert reply.reasoning == "first\nhm hm"
        assert "hm hm" in "".join(thoughts)

    @pytest.mark.parametrize("streamed", [False, True])
    def test_a_refusal_keeps_its_words_and_its_usage(self, streamed):
        chat = ScriptedChat([{"refusal": "I cannot help with that."}])
        with pytest.raises(ModelRefusal, match="I cannot help with that") as caught:
            ask_model(chat, [Message("user", "one two")], on_token=(lambda _: None) if streamed else None)
        assert caught.value.reply.usage.input_tokens == 2
        json.dumps(caught.value.reply.row())
