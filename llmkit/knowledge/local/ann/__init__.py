"""Approximate nearest neighbour indexes (FAISS): when to build, how to tune."""
