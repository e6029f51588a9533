"""Retrievers and rerankers: from questions to ranked passages."""
