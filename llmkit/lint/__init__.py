"""Whether prompts hold what they promise: variables, formats, no secrets, a length, readers of their replies."""

from llmkit.lint.prompt import Finding, lint_file
from llmkit.lint.uses import lint_uses

__all__ = ["Finding", "lint_file", "lint_uses"]
