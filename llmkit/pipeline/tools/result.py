"""Formats the result of a tool call for the model: truncated, passages numbered, text by others delimited."""

from __future__ import annotations

from llmkit.agents.delimiters import delimit
from llmkit.agents.tool import Output, Tool
from llmkit.pipeline.steps.answering.prompt_passages import format_passages


def format_result(
    tool: Tool, output: Output, *, first: int = 1, max_chars: int = 4000, fence: bool = True
) -> tuple[str, int]:
    """Format a result for the model.

    Args:
        tool: the tool that was called.
        output: its result.
        first: number of the first passage.
        max_chars: maximum characters that are shown.
        fence: whether text by others is put between delimiters.

    Returns:
        The text, and how many characters or bytes of the result it leaves out.
    """
    if isinstance(output.text, bytes):
        size = len(output.text)
        return f"The result is {size} bytes that are not text; they are not shown.", size
    text = format_passages(output.hits, first) if output.hits else output.text
    if "\0" in text[:max_chars]:
        return f"The result is {len(text)} characters that are not text; they are not shown.", len(text)
    dropped = max(0, len(text) - max_chars)
    body = text[:max_chars].encode("utf-8", "replace").decode("utf-8")
    if not body.strip():
        return "The result is empty.", 0
    text = delimit(body) if tool.untrusted and fence else body
    if dropped:
        text += f"\n({dropped} more characters are not shown.)"
    return text, dropped
