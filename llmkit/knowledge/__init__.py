"""The knowledge base: documents in, evidence out."""
