"""The HTTP face: an OpenAI-compatible interface, one of our own beside it, and a page to talk on."""
