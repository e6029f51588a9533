"""Readers for HTML, XML, Markdown, EPUB and notebooks."""
