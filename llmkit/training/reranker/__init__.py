"""Training of a cross-encoder reranker."""
