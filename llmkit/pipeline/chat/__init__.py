"""Conversations over a pipeline, and where they are kept."""
