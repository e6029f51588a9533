"""Steps that find passages: retrieve, rerank, expand, condense, rewrite."""
