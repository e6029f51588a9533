"""Metrics: each scores one sample, and says so where it cannot."""
