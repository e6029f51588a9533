"""Chat models behind one name."""

from __future__ import annotations

from llmkit.lazy import lazy_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from llmkit.models.ask import ask_model as ask_model
    from llmkit.models.chat import ChatModelSpec as ChatModelSpec
    from llmkit.models.chat import context_window as context_window
    from llmkit.models.chat import count_tokens as count_tokens
    from llmkit.models.chat import load_chat as load_chat
    from llmkit.models.response_cache import ResponseCache as ResponseCache
    from llmkit.models.scripted import ScriptedChat as ScriptedChat

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "ask": ["ask_model"],
        "chat": ["ChatModelSpec", "context_window", "count_tokens", "load_chat"],
        "response_cache": ["ResponseCache"],
        "scripted": ["ScriptedChat"],
    },
)
