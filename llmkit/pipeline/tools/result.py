"""What a call gave, as the model is shown it: bounded, passages numbered, text by others fenced."""

from __future__ import annotations

from llmkit.agents.delimiters import fenced
from llmkit.agents.tool import Output, Tool
from llmkit.pipeline.steps.answering.prompt_passages import format_passages


def format_result(
    tool: Tool, output: Output, *, first: int = 1, max_chars: int = 4000, fence: bool = True
) -> tuple[str, int]:
    """The result of a call, and how many of its characters or bytes are left out.

    Args:
        tool: that was called.
        output: what it gave.
        first: number of the first passage.
        max_chars: maximum characters that are shown.
        fence: whether text by others is put between marks.
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
    said = fenced(body) if tool.untrusted and fence else body
    if dropped:
        said += f"\n({dropped} more characters are not shown.)"
    return said, dropped
