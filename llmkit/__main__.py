"""``python -m llmkit``."""

from llmkit.cli import main

main()
