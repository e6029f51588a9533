"""Conversations over a pipeline, and where they are kept."""

from __future__ import annotations

from llmkit.lazy import lazy_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from llmkit.pipeline.chat.session import ChatSession as ChatSession
    from llmkit.pipeline.chat.session_store import SessionStore as SessionStore
    from llmkit.pipeline.chat.session_store import Turn as Turn

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "session": ["ChatSession"],
        "session_store": ["SessionStore", "Turn"],
    },
)
