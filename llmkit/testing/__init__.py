"""Conformance suites and tiny models, shipped for those who write parts."""
