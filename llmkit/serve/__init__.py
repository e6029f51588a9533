"""The HTTP face: an OpenAI-compatible interface, one of our own beside it, and a page to talk on."""

from __future__ import annotations

from llmkit.lazy import lazy_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from llmkit.serve.app import make_app as make_app
    from llmkit.serve.server import make_server as make_server
    from llmkit.serve.server import serve as serve
    from llmkit.serve.settings import Settings as Settings

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "app": ["make_app"],
        "server": ["make_server", "serve"],
        "settings": ["Settings"],
    },
)
