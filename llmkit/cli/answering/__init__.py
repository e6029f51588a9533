"""Commands that answer: ask, chat, serve, keys."""
