"""The BM25 index (tantivy) and how it follows the catalogue."""
