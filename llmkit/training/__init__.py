"""Training: retrievers, rerankers and adapters, from your own examples, kept only where they help."""
