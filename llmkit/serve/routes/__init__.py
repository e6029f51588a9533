"""The HTTP routes: request schemas, response formats, and one module for each group of paths."""
