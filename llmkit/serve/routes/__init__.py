"""HTTP routes: the OpenAI-compatible interface and our own."""
