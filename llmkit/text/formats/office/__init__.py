"""Readers for Word, Excel, PowerPoint, OpenDocument and RTF files."""
