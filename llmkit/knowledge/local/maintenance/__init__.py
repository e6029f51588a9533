"""Verify, purge, roll back and re-encode a local knowledge base."""
