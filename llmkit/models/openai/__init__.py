"""Chat models behind OpenAI's chat completions: OpenAI itself, Azure, and every server that speaks the protocol."""
