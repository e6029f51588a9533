"""Readers for CSV, JSON and other rows."""
