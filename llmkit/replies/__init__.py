"""What a model said, as a typed reply: text, reasoning, tool calls, refusal, and how it ended."""

from __future__ import annotations

from llmkit.lazy import lazy_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from llmkit.replies.read import read_message as read_message
    from llmkit.replies.reply import Reply as Reply
    from llmkit.replies.reply import ToolCall as ToolCall

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "read": ["read_message"],
        "reply": ["Reply", "ToolCall"],
    },
)
