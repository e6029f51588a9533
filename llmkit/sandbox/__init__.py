"""Isolated execution of untrusted Python. The entry point is :class:`~llmkit.sandbox.sandbox.Sandbox`."""

from __future__ import annotations

from llmkit.lazy import lazy_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from llmkit.sandbox.sandbox import Outcome as Outcome
    from llmkit.sandbox.sandbox import Sandbox as Sandbox

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "sandbox": ["Outcome", "Sandbox"],
    },
)
