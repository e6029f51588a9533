"""Filters over metadata: the expression, and its text form."""
