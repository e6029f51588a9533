"""From the message of any chat model to a :class:`llmkit.replies.Reply`: the one place where a reply enters llmkit."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from llmkit.arguments import many_texts
from llmkit.errors import ModelError
from llmkit.replies.characters import join_halves
from llmkit.replies.finish_reason import FAILED, finish_reason
from llmkit.replies.reasoning import split_reasoning
from llmkit.replies.reply import Reply, ToolCall
from llmkit.replies.text_tool_calls import text_tool_calls, tool_call
from llmkit.types import Usage

_REASONING_KEYS = ("reasoning_content", "reasoning", "thinking")
_MODEL_KEYS = ("model_name", "model", "model_id")


def read_message(message: Any, tools: Collection[str] = ()) -> Reply:
    """The reply that a LangChain message holds.

    Args:
        message: an ``AIMessage``, or its chunks added up.
        tools: names of the tools that were offered; with none, text is never read as a call.

    Raises:
        ModelError: the provider says in the reply that the model failed.
    """
    tools = many_texts(tools, "tools")
    metadata: Mapping[str, Any] = message.response_metadata or {}
    extra: Mapping[str, Any] = message.additional_kwargs or {}
    reason, strange = finish_reason(metadata)
    if strange.casefold() in FAILED:
        raise ModelError(f"the server ended the reply with {strange!r}: the model behind it failed", retryable=True)
    notes = [f"the server ended the reply with {strange!r}, which llmkit does not know"] if strange else []

    raw, blocks = _content(message.content)
    text, replaced, _ = join_halves(raw)
    replaced += int(extra.get("replaced_characters", 0))
    split = split_reasoning(text)
    if split.reasoning and not split.opened:
        notes.append(
            "the reply began with the model's reasoning, without an opening tag: it was taken off. The server has no "
            "parser for this model's reasoning; docs/models.md says which option turns it on"
        )
    thoughts = [*(str(extra[key]) for key in _REASONING_KEYS if extra.get(key)), *blocks, split.reasoning]
    reasoning = join_halves("\n".join(dict.fromkeys(one.strip() for one in thoughts if one.strip()))).text
    if replaced:
        notes.append(f"{replaced} characters of the reply were broken and are shown as \ufffd")
    answer = split.text.strip()
    calls = _calls(message, cut=reason == "length")
    if not calls and tools:
        answer, calls = text_tool_calls(answer, tools)
    refusal = extra.get("refusal")
    counts = message.usage_metadata or {}
    usage = Usage(int(counts.get("input_tokens") or 0), int(counts.get("output_tokens") or 0), 1)
    return Reply(
        text=answer,
        reasoning=reasoning,
        tool_calls=calls,
        refusal=join_halves(refusal).text.strip() if isinstance(refusal, str) else "",
        finish_reason="tool_calls" if calls and reason == "stop" else reason,
        usage=usage,
        counted=bool(counts),
        model=next((str(metadata[key]) for key in _MODEL_KEYS if metadata.get(key)), ""),
        notes=tuple(notes),
    )


def _content(content: Any) -> tuple[str, list[str]]:
    """Text and reasoning of a message's content, which is a text or a list of typed blocks."""
    if isinstance(content, str):
        return content, []
    texts: list[str] = []
    thoughts: list[str] = []
    for block in content or ():
        if isinstance(block, str):
            texts.append(block)
        elif block.get("type") in ("text", "output_text") and isinstance(block.get("text"), str):
            texts.append(block["text"])
        elif block.get("type") in ("thinking", "reasoning"):
            thoughts.append(str(block.get("thinking") or block.get("reasoning") or block.get("text") or ""))
    return "".join(texts), thoughts


def _calls(message: Any, *, cut: bool) -> tuple[ToolCall, ...]:
    """Native calls; the last one of a reply that was cut off may lack the end of its arguments."""
    calls = [tool_call(one["name"], one["args"], one.get("id")) for one in message.tool_calls]
    for one in message.invalid_tool_calls:
        calls.append(tool_call(one.get("name"), _unquoted(one.get("args")), one.get("id")))
    if cut and calls and not calls[-1].problem:
        last = calls[-1]
        raw = json.dumps(dict(last.arguments), ensure_ascii=False, default=str)
        problem = "the reply was cut off at max_tokens while the call was written"
        calls[-1] = ToolCall(last.name, {}, last.id, problem, raw)
    return tuple(calls)


def _unquoted(raw: Any) -> Any:
    """Arguments that cannot be read travel through streams as a JSON text, so that nothing mends them on the way."""
    if isinstance(raw, str) and raw.startswith('"'):
        try:
            value = json.loads(raw)
        except ValueError:
            return raw
        return value if isinstance(value, str) else raw
    return raw
