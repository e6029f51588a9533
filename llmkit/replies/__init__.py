"""What a model said, as a typed reply: text, reasoning, tool calls, refusal, and how it ended."""

from llmkit.replies.read import read_message
from llmkit.replies.reply import FinishReason, Reply, ToolCall

__all__ = ["FinishReason", "Reply", "ToolCall", "read_message"]
