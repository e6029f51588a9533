"""Checks of prompt files: variables, form of the reply, secrets, length, and the steps that read the replies."""

from __future__ import annotations

from llmkit.lazy import lazy_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from llmkit.lint.prompt import Finding as Finding
    from llmkit.lint.prompt import lint_file as lint_file
    from llmkit.lint.uses import lint_uses as lint_uses

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "prompt": ["Finding", "lint_file"],
        "uses": ["lint_uses"],
    },
)
