"""The HTTP server: an OpenAI-compatible interface, llmkit's own interface beside it, and a web page for chat."""
