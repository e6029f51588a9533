"""Drafts made better: the loop, what it listens to, and how the best of many is chosen. It knows no model."""
