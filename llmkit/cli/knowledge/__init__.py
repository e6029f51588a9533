"""Commands over a knowledge base: ingest, search, status, kb."""
