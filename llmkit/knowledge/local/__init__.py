"""The knowledge base in a folder: SQLite, vector files, a tantivy index."""
