"""Rerankers: cross-encoders and late interaction."""
