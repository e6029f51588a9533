"""From a path or bytes to documents: find files, detect their type, parse them in worker processes."""

from __future__ import annotations

from llmkit.lazy import lazy_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from llmkit.text.formats.limits import Limits as Limits
    from llmkit.text.formats.tabular.rows import Rows as Rows
    from llmkit.text.loading.load_files import Loaded as Loaded
    from llmkit.text.loading.load_files import load as load
    from llmkit.text.loading.load_files import load_all as load_all

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "llmkit.text.formats.limits": ["Limits"],
        "llmkit.text.formats.tabular.rows": ["Rows"],
        "load_files": ["Loaded", "load", "load_all"],
    },
)
