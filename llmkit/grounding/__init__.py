"""Whether a text is supported by passages."""
