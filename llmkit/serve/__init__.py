"""The HTTP server: an OpenAI-compatible interface, llmkit's own interface beside it, and a web page for chat."""

from __future__ import annotations

from llmkit.lazy import lazy_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from llmkit.serve.app import create_app as create_app
    from llmkit.serve.server import create_server as create_server
    from llmkit.serve.server import serve as serve
    from llmkit.serve.settings import Settings as Settings

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "app": ["create_app"],
        "server": ["create_server", "serve"],
        "settings": ["Settings"],
    },
)
