"""From a path or bytes to documents: find files, detect their type, parse them in worker processes."""
