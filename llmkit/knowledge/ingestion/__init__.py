"""From documents to a commit: splitting, encoding, near duplicates, progress."""
