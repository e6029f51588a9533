"""The commands of `llmkit train`."""
